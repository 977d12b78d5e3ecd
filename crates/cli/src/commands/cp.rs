// SPDX-License-Identifier: Apache-2.0
//! `corten cp`: files between a container and here.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use errors::{Classify, Kind, kind_of_io};
use layer::{Extraction, Limits, Owners, PackError, Writer};

use crate::archive_file::Output;
use crate::cli::Context;
use crate::copying::{Placing, Side, Source, Target, absolute, followed, split};
use crate::failure::Failure;
use crate::printer::meter::Meter;
use crate::printer::{self, human};

/// Copy files between a container and here: CONTAINER:PATH is in a container, - is an archive on stdin or stdout
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is copied into a container becomes its user's
    #[arg(short, long)]
    archive: bool,
    /// Follow a symbolic link that the source is
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not say what was copied; by default only a terminal is told
    #[arg(short, long)]
    quiet: bool,
    /// What to copy; with /. at its end, what is in it
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let invalid = |text: &str| Err(Failure::new(Kind::InvalidArgument, text));
    if args.source.is_empty() || args.destination.is_empty() {
        return invalid("neither the source nor the destination can be empty");
    }
    match (Side::parse(&args.source), Side::parse(&args.destination)) {
        (Side::Container { name, path }, Side::Local(to)) => from_container(&args, &name, &path, &to, context).await,
        (Side::Local(from), Side::Container { name, path }) => to_container(&args, &from, &name, &path, context).await,
        (Side::Container { .. }, Side::Container { .. }) => {
            invalid("copying between containers is not supported: copy to here first")
        }
        (Side::Local(_), Side::Local(_)) => invalid("must specify at least one container source: CONTAINER:PATH"),
    }
}

fn told(args: &Args, bytes: u64, place: &str) {
    if !args.quiet && io::stdout().is_terminal() {
        printer::note(&format!("Successfully copied {} to {place}", human::size(bytes)));
    }
}

/// A path here, made absolute; what is no text cannot be told from a mistake.
fn here(path: &str) -> Result<String, Failure> {
    let directory = std::env::current_dir().map_err(|error| failed("find the working directory", ".", &error))?;
    Ok(absolute(path, &directory.to_string_lossy()))
}

fn failed(action: &str, path: &str, error: &io::Error) -> Failure {
    Failure::new(kind_of_io(error), format!("cannot {action} {path}: {error}"))
}

async fn from_container(args: &Args, container: &str, path: &str, to: &str, context: &Context) -> Result<u8, Failure> {
    let to = if to == "-" { to.to_owned() } else { here(to)? };
    if to != "-" {
        check_output(&to)?;
    }
    let (mut path, mut called) = (path.to_owned(), None);
    if args.follow_link
        && let Ok(stat) = context.client.stat_path(container, &path).await
        && stat.is_link()
    {
        (path, called) = followed(&path, &stat.link_target);
    }
    let archive = context.client.copy_from(container, &path).await?;
    if to == "-" {
        archive.write(&mut Output::Stream(Box::new(io::stdout()))).await?;
        return Ok(0);
    }
    let source = Source { path, is_directory: archive.stat.is_directory(), called };
    let target = local_target(&to)?;
    let placing = source.placed(&target)?;
    let (reader, mut writer) = io::pipe().map_err(|error| failed("make a pipe for", &to, &error))?;
    let base = source.base();
    let extracting = std::thread::spawn(move || extract(reader, &placing, &base));
    let mut out = Counted { inner: &mut writer, meter: Meter::new("Copying from container", args.quiet) };
    let written = archive.write(&mut out).await;
    let bytes = out.meter.bytes();
    drop(out);
    drop(writer);
    match extracting.join() {
        Ok(extracted) => {
            // That the daemon's archive was not read to its end is the extraction's fault, if that failed.
            extracted?;
            written?;
        }
        Err(_) => return Err(Failure::new(Kind::Internal, "the thread that extracts panicked")),
    }
    told(args, bytes, &to);
    Ok(0)
}

/// What may be written to: a file or a directory, or nothing yet in a directory that is there.
fn check_output(path: &str) -> Result<(), Failure> {
    let (directory, _) = split(path);
    if fs::metadata(&directory).is_err() {
        let text = format!("invalid output path: directory {directory:?} does not exist");
        return Err(Failure::new(Kind::NotFound, text));
    }
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() && !found.is_file() => {
            let text = format!("invalid output path: {path:?} must be a directory or a regular file");
            Err(Failure::new(Kind::InvalidArgument, text))
        }
        _ => Ok(()),
    }
}

/// What a destination here is: of a link, what it leads to.
fn local_target(path: &str) -> Result<Target, Failure> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match fs::read_link(path.trim_end_matches('/')) {
            Ok(next) => {
                let (directory, _) = split(&path);
                path = absolute(&next.to_string_lossy(), &directory);
            }
            Err(_) => {
                let is_directory = match fs::metadata(&path) {
                    Ok(found) => Some(found.is_dir()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(failed("look at", &path, &error)),
                };
                return Ok(Target { path, is_directory });
            }
        }
    }
    Err(Failure::new(Kind::InvalidArgument, format!("too many symbolic links in {path}")))
}

/// Extracts what comes from a container, which is not to be trusted: nothing leaves the directory, nothing gets rights.
fn extract(archive: impl Read, placing: &Placing, base: &str) -> Result<(), Failure> {
    let directory = File::open(&placing.directory).map_err(|error| failed("open", &placing.directory, &error))?;
    let rename = (base != placing.name).then_some((base.as_bytes(), placing.name.as_bytes()));
    let extraction = Extraction { at: b"", owners: Owners::Ours, keep_kinds: true, rename, ids: None };
    let limits = Limits { max_bytes: u64::MAX, max_entries: u64::MAX, absolute_names: true, ..Limits::default() };
    let extracted = layer::extract(archive, directory.as_fd(), &extraction, &limits);
    Ok(extracted?)
}

async fn to_container(args: &Args, from: &str, container: &str, path: &str, context: &Context) -> Result<u8, Failure> {
    let target = container_target(container, path, context).await?;
    if from == "-" {
        if target.is_directory != Some(true) {
            let text = format!("destination \"{container}:{path}\" must be a directory");
            return Err(Failure::new(Kind::InvalidArgument, text));
        }
        context.client.copy_to(container, &target.path, args.archive, io::stdin()).await?;
        return Ok(0);
    }
    let source = local_source(&here(from)?, args.follow_link)?;
    let placing = source.placed(&target)?;
    let packing = Packing::begin(source, placing.name, args.quiet).map_err(|error| failed("read", from, &error))?;
    let (bytes, problem) = (Arc::clone(&packing.bytes), Arc::clone(&packing.problem));
    let sent = context.client.copy_to(container, &placing.directory, args.archive, packing).await;
    // What could not be read here is why the daemon got no whole archive.
    if let Some(error) = problem.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error.into());
    }
    sent?;
    told(args, bytes.load(Ordering::Relaxed), &format!("{container}:{}", target.path));
    Ok(0)
}

/// What a destination in a container is: of a link, what it leads to. What cannot be looked at is said when it is written.
async fn container_target(container: &str, path: &str, context: &Context) -> Result<Target, Failure> {
    let mut target = Target { path: absolute(path, "/"), is_directory: None };
    let mut stat = context.client.stat_path(container, &target.path).await;
    if let Ok(found) = &stat
        && found.is_link()
    {
        target.path.clone_from(&found.link_target);
        stat = context.client.stat_path(container, &target.path).await;
    }
    match stat {
        Ok(found) if found.is_special() => {
            let text = format!("destination \"{container}:{path}\" must be a directory or a regular file");
            Err(Failure::new(Kind::InvalidArgument, text))
        }
        Ok(found) => Ok(Target { is_directory: Some(found.is_directory()), ..target }),
        Err(error) if error.kind() == Kind::NotFound => Ok(target),
        Err(error) => Err(error.into()),
    }
}

/// What a source here is. A link that it ends with is followed when that is asked for, or a slash stands behind it.
fn local_source(path: &str, follow: bool) -> Result<Source, Failure> {
    let bare = path.trim_end_matches("/.").trim_end_matches('/');
    let bare = if bare.is_empty() { "/" } else { bare };
    let is_link = fs::symlink_metadata(bare).map_err(|error| failed("find", path, &error))?.is_symlink();
    let (mut resolved, mut called) = (path.to_owned(), None);
    if is_link && (follow || path.ends_with('/') || path.ends_with("/.")) {
        let target = fs::canonicalize(bare).map_err(|error| failed("follow", path, &error))?;
        (resolved, called) = followed(path, &target.to_string_lossy());
    }
    let found = fs::symlink_metadata(&resolved).map_err(|error| failed("find", path, &error))?;
    Ok(Source { path: resolved, is_directory: found.is_dir(), called })
}

/// An archive of something here, made by a thread of its own as it is read.
struct Packing {
    archive: io::PipeReader,
    bytes: Arc<AtomicU64>,
    problem: Arc<Mutex<Option<PackError>>>,
    packer: Option<std::thread::JoinHandle<()>>,
    meter: Meter,
}

impl Packing {
    /// Begins to pack `source`, which is called `name`.
    fn begin(source: Source, name: String, quiet: bool) -> io::Result<Packing> {
        let (directory, base) = split(&source.path);
        let opened = File::open(if source.is_directory { &source.path } else { &directory })?;
        let base = CString::new(base)?;
        let (archive, writer) = io::pipe()?;
        let problem = Arc::new(Mutex::new(None));
        let told = Arc::clone(&problem);
        let packer = std::thread::spawn(move || {
            let mut archive = Writer::new(io::BufWriter::new(writer));
            let packed = match source.is_directory {
                true => layer::pack_as(opened.as_fd(), name.as_bytes(), &mut archive),
                false => layer::pack_one(opened.as_fd(), &base, name.as_bytes(), &mut archive),
            };
            let packed =
                packed.and_then(|()| archive.finish().and_then(|mut out| out.flush()).map_err(PackError::Output));
            match packed {
                // Nobody reads on: then the daemon has said why.
                Ok(()) | Err(PackError::Output(_)) => {}
                Err(error) => *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
            }
        });
        let meter = Meter::new("Copying to container", quiet);
        Ok(Packing { archive, bytes: Arc::default(), problem, packer: Some(packer), meter })
    }
}

impl Read for Packing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.archive.read(buffer)?;
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        self.meter.add(length);
        if length == 0 && !buffer.is_empty() {
            // An archive that was not packed to its end must not pass for a whole one.
            let ended = self.packer.take().map_or(Ok(()), std::thread::JoinHandle::join);
            if ended.is_err() || self.problem.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                return Err(io::Error::other("the archive could not be made"));
            }
        }
        Ok(length)
    }
}

/// Counts what is written.
struct Counted<'w, W> {
    inner: &'w mut W,
    meter: Meter,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.meter.add(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
