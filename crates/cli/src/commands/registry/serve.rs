// SPDX-License-Identifier: Apache-2.0
//! `corten registry serve`: the registry server, in the foreground, until SIGTERM or SIGINT.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use errors::{Kind, kind_of_io};
use registry_server::{AccessLog, Collection, Identity, Mirror, Options, Registry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::access;
use crate::failure::Failure;
use crate::flags::duration;
use crate::{printer, process};

/// Descriptors that the registry has for itself: 256 uploads between two requests, and its directories.
const OWN_DESCRIPTORS: u64 = 320;

/// Run a registry: the OCI distribution protocol over HTTP
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen; with port 0, any free one, which is printed
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    listen: String,
    /// Where to keep everything
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/corten-registry")]
    root: PathBuf,
    /// A content store on the same file system (DATA ROOT/content of a daemon) whose blobs are not stored a second time
    #[arg(long, value_name = "DIRECTORY")]
    share_with: Option<PathBuf>,
    /// Refuse to take or delete anything
    #[arg(long)]
    read_only: bool,
    /// Be a cache of another registry: what is not here is fetched from there and kept
    #[arg(long, value_name = "REGISTRY")]
    mirror_of: Option<String>,
    #[command(flatten)]
    access: access::Args,
    /// The certificate to serve TLS with, in PEM, with those between it and its authority
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Where to log requests, a line of JSON each [default: standard error]
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// How often to remove what no manifest refers to; 0 for never
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration::duration)]
    gc_interval: Duration,
    /// How long a blob may wait for its manifest, and an upload for its next bytes
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration::duration)]
    gc_grace: Duration,
}

pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    // What the registry keeps is for nobody else on this machine.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    process::log_to_stderr(tracing::Level::INFO);
    let runtime = process::event_loop()?;
    runtime.block_on(serve(args))?;
    Ok(0)
}

async fn serve(args: Args) -> Result<(), Failure> {
    let no_signals = |error| Failure::new(Kind::Internal, format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut options = Options::new(args.root);
    options.limits.connections = options.limits.connections.min(connections_for(process::raise_descriptors()));
    options.share_with = args.share_with;
    options.read_only = args.read_only;
    options.collection =
        (args.gc_interval > Duration::ZERO).then_some(Collection { interval: args.gc_interval, grace: args.gc_grace });
    options.access = args.access.read()?;
    options.mirror = args.mirror_of.as_deref().map(mirror).transpose()?;
    if let (Some(certificates), Some(key)) = (&args.tls_cert, &args.tls_key) {
        options.tls = Some(Identity::read(certificates, key)?);
    }
    options.access_log = Some(access_log(args.access_log.as_deref())?);
    let registry = Registry::open(options)?;
    let is_tls = args.tls_cert.is_some();
    let cannot_listen = |error| Failure::new(kind_of_io(&error), format!("cannot listen on {}: {error}", args.listen));
    let listener = TcpListener::bind(&args.listen).await.map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    printer::line(&format!("listening on {}://{address}", if is_tls { "https" } else { "http" }));
    registry
        .serve(listener, async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}

/// How many connections there may be with so many descriptors. One that is served has its own and at most two files' and
/// one to the registry behind, beside what the registry itself has open; without one left, requests would fail.
fn connections_for(descriptors: u64) -> usize {
    usize::try_from(descriptors.saturating_sub(OWN_DESCRIPTORS) / 4).unwrap_or(usize::MAX).max(1)
}

/// Credentials are those of the user's Docker configuration, as for a pull.
fn mirror(address: &str) -> Result<Mirror, Failure> {
    Ok(Mirror::of(address, registry_client::Options::default())?)
}

/// Lines are added to a file that is there already.
fn access_log(path: Option<&Path>) -> Result<AccessLog, Failure> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::new(kind_of_io(&error), format!("cannot {what} the access log: {error}"))
    };
    let log = match path {
        Some(path) => {
            let file = File::options().append(true).create(true).open(path);
            AccessLog::new(file.map_err(|error| failed("open", error))?)
        }
        None => AccessLog::new(std::io::stderr()),
    };
    log.map_err(|error| failed("start", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_descriptors_for_every_connection() {
        for descriptors in [1024, 4096, 1 << 20, u64::MAX] {
            let connections = connections_for(descriptors) as u64;
            assert!(connections.saturating_mul(4) <= descriptors - OWN_DESCRIPTORS, "{descriptors}");
        }
        assert_eq!((connections_for(0), connections_for(4416)), (1, 1024));
    }

    #[test]
    fn as_many_descriptors_as_there_may_be_are_taken() {
        assert_eq!(
            Some(process::raise_descriptors()),
            rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.or(Some(u64::MAX))
        );
    }
}
