// SPDX-License-Identifier: Apache-2.0
//! `corten copy`: an image from one place to another, without a daemon.

use std::collections::HashMap;
use std::io::{self, BufRead as _, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api_types::{ProgressDetail, ProgressLine};
use clap::{ArgAction, ValueEnum};
use errors::{Kind, kind_of_io};
use layer::Compression;
use oci::media_type::Format;
use oci::{Digest, Platform};
use registry_client::{Client, CredentialSource, Credentials};
use tokio::signal::unix::{SignalKind, signal};
use transfer::{Copied, Event, Options, Place, Registries, Status, Stop, TransferError};

use crate::failure::Failure;
use crate::printer::progress::Progress;
use crate::{printer, process, terminal};

/// The longest password, in bytes: some are tokens of a few kilobytes.
const LONGEST: u64 = 64 << 10;
/// The shortest time between two reports of one blob's progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Copy an image between registries, archives and directories, and print its digest
///
/// A place is docker://NAME[:TAG|@DIGEST] (a registry), oci:DIR[:REFERENCE] (an OCI image layout), oci-archive:FILE[:REFERENCE]
/// (the same as a tar archive), docker-archive:FILE[:NAME[:TAG]|:@INDEX] (docker save's) or dir:DIR (plain files). Nothing
/// is unpacked, and no daemon is needed. A file that is there already is replaced; a layout gets one more image.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All images of one for several platforms, and the index that lists them
    #[arg(short, long, conflicts_with = "platform")]
    all: bool,
    /// Of an image for several platforms, the one for this, as in linux/arm64 [default: this host's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// The format of the manifests [default: the one they have, or the only one that the destination knows]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<ManifestFormat>,
    /// How the layers shall be compressed [default: as they are]
    #[arg(long, value_name = "METHOD", visible_alias = "dest-compress-format")]
    compress_format: Option<CompressFormat>,
    /// From 1, the fastest, to 9 for gzip and 22 for zstd
    #[arg(long, value_name = "LEVEL", requires = "compress_format", visible_alias = "dest-compress-level")]
    compression_level: Option<i32>,
    /// Fail if the image's digest would change
    #[arg(long)]
    preserve_digests: bool,
    /// Who to be at the source's registry; the password is asked for, or a line of stdin [default: whom corten login knows]
    #[arg(long, value_name = "USER")]
    src_creds: Option<String>,
    /// The same at the destination's
    #[arg(long, value_name = "USER")]
    dest_creds: Option<String>,
    /// With =false, take any certificate of the source's registry, or none
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1,
        default_missing_value = "true", require_equals = true)]
    src_tls_verify: bool,
    /// The same for the destination's
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1,
        default_missing_value = "true", require_equals = true)]
    dest_tls_verify: bool,
    /// Write the digest to a file, too
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,
    /// Where the image is
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where it shall be
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ManifestFormat {
    /// The OCI image-spec's.
    Oci,
    /// Docker's, version 2, schema 2.
    #[value(alias = "v2s2")]
    Docker,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompressFormat {
    /// For every client.
    Gzip,
    /// Smaller, and faster to unpack; in the OCI format only.
    Zstd,
}

impl Args {
    fn options(&self) -> Result<Options, Failure> {
        let compression = self.compress_format.map(|format| match format {
            CompressFormat::Gzip => Compression::Gzip,
            CompressFormat::Zstd => Compression::Zstd,
        });
        if let (Some(compression), Some(level)) = (compression, self.compression_level)
            && !layer::levels(compression).contains(&level)
        {
            let (least, most) = layer::levels(compression).into_inner();
            let text = format!("there is no compression level {level}: from {least} to {most}");
            return Err(Failure::new(Kind::InvalidArgument, text));
        }
        Ok(Options {
            all: self.all,
            platform: self.platform.clone(),
            format: self.format.map(|format| match format {
                ManifestFormat::Oci => Format::Oci,
                ManifestFormat::Docker => Format::Docker,
            }),
            compression,
            level: self.compression_level,
            preserve_digests: self.preserve_digests,
        })
    }
}

pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let (from, to) = (args.source.parse::<Place>()?, args.destination.parse::<Place>()?);
    let options = args.options()?;
    let source = registry_options(args.src_creds.as_deref(), args.src_tls_verify, "source")?;
    let destination = registry_options(args.dest_creds.as_deref(), args.dest_tls_verify, "destination")?;
    let runtime = process::event_loop()?;
    let registries = Registries {
        source: Client::new(source),
        destination: Client::new(destination),
        runtime: runtime.handle().clone(),
    };
    let progress = Arc::new(Shown::new(args.quiet));
    let copied = runtime.block_on(interruptible(from, to, options, registries, progress));
    // A thread may still wait for a registry that nobody needs any more.
    runtime.shutdown_background();
    let digest = copied?.digest;
    if let Some(path) = &args.digestfile {
        let failed = |error: io::Error| {
            Failure::new(
                kind_of_io(&error),
                format!("the image is copied, but cannot write {}: {error}", path.display()),
            )
        };
        std::fs::write(path, digest.to_string()).map_err(failed)?;
    }
    printer::line(&digest.to_string());
    Ok(0)
}

/// Copies, until a signal says to stop: then what is half-made is removed before this ends.
async fn interruptible(
    from: Place,
    to: Place,
    options: Options,
    registries: Registries,
    progress: Arc<Shown>,
) -> Result<Copied, Failure> {
    let no_signals = |error| Failure::new(Kind::Internal, format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let stop = Stop::default();
    let stopping = stop.clone();
    let mut copying =
        tokio::task::spawn_blocking(move || transfer::copy(&from, &to, &options, &registries, &stopping, progress));
    let mut code = None;
    loop {
        let copied = tokio::select! {
            copied = &mut copying => copied,
            _ = interrupt.recv() => {
                code = Some(130);
                stop.stop();
                continue;
            }
            _ = terminate.recv() => {
                code = Some(143);
                stop.stop();
                continue;
            }
        };
        let copied = copied.map_err(|error| Failure::new(Kind::Internal, format!("the copy broke off: {error}")))?;
        return match (copied, code) {
            (Err(TransferError::Stopped), Some(code)) => Err(Failure { report: None, code }),
            (copied, _) => Ok(copied?),
        };
    }
}

fn registry_options(creds: Option<&str>, verify: bool, side: &str) -> Result<registry_client::Options, Failure> {
    let mut options = registry_client::Options { unverified: !verify, ..registry_client::Options::default() };
    if let Some(creds) = creds {
        // With the password on the command line as well, as skopeo takes it.
        let (user, password) = match creds.split_once(':') {
            Some((user, password)) => (user, password.to_owned()),
            None => (creds, password(creds, side)?),
        };
        if user.is_empty() || password.is_empty() {
            let what = if user.is_empty() { "user name" } else { "password" };
            return Err(Failure::new(Kind::InvalidArgument, format!("the {what} for the {side} is empty")));
        }
        options.credentials = CredentialSource::Fixed(Credentials::password(user, password));
    }
    Ok(options)
}

/// The password, typed unseen or, where stdin is no terminal, its next line.
fn password(user: &str, side: &str) -> Result<String, Failure> {
    let unreadable = |error: io::Error| Failure::new(kind_of_io(&error), format!("cannot read from stdin: {error}"));
    if terminal::is_interactive() {
        let typed = terminal::hidden_line(&format!("Password of {user} at the {side}: "));
        printer::note("");
        return typed.map_err(unreadable)?.ok_or(Failure { report: None, code: 130 });
    }
    let mut line = String::new();
    io::stdin().lock().take(LONGEST).read_line(&mut line).map_err(unreadable)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Progress as the other commands show it.
struct Shown(Mutex<Inner>);

struct Inner {
    progress: Progress,
    reported: HashMap<Digest, Instant>,
}

impl Shown {
    fn new(quiet: bool) -> Shown {
        Shown(Mutex::new(Inner { progress: Progress::new(quiet), reported: HashMap::new() }))
    }
}

impl transfer::Progress for Shown {
    fn event(&self, event: Event) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, detail) = match event.status {
            Status::Copying { done, total } => {
                let reported = inner.reported.get(&event.blob);
                if reported.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
                    return;
                }
                inner.reported.insert(event.blob, Instant::now());
                ("Copying", Some(ProgressDetail { current: Some(done), total: Some(total) }))
            }
            Status::Mounted => ("Mounted from another repository", None),
            Status::Exists => ("Already there", None),
            Status::Done => ("Copied", None),
        };
        let line = ProgressLine {
            id: Some(event.blob.short()),
            status: Some(status.to_owned()),
            progress_detail: detail,
            ..ProgressLine::default()
        };
        inner.progress.show(&line);
    }
}
