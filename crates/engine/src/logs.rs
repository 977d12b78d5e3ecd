// SPDX-License-Identifier: Apache-2.0
//! `logs`: reading back what the shim wrote, across rotations, and following it.
//!
//! The shim writes Docker's json-file format and rotates `LOG` to `LOG.1`, `LOG.2` and so on. A follower keeps its file
//! open and, at the end of it, looks whether the name now means another file: then the old one is finished first.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::Engine;
use crate::container::{Container, Phase};
use crate::error::EngineError;

/// So many lines may wait for a slow reader.
const QUEUE: usize = 256;
/// How often a follower looks even when nothing was written: for the container's end, and for a reader who left.
const LOOK: Duration = Duration::from_millis(250);

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only so many of the last lines.
    pub tail: Option<usize>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Not newer than this.
    pub until: Option<Timestamp>,
    /// Of standard output.
    pub stdout: bool,
    /// Of standard error.
    pub stderr: bool,
}

/// One line, or a part of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read from the container, RFC 3339.
    pub time: String,
    /// 1 for standard output, 2 for standard error.
    pub stream: u8,
    /// The text, with its newline.
    pub text: String,
}

/// Lines, as they come.
pub struct LogStream(mpsc::Receiver<Result<LogLine, EngineError>>);

impl LogStream {
    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<LogLine, EngineError>> {
        self.0.recv().await
    }
}

impl Engine {
    /// A container's log.
    ///
    /// # Errors
    /// No such container, or a log that cannot be read.
    pub fn logs(&self, name: &str, options: LogOptions) -> Result<LogStream, EngineError> {
        let container = self.container(name)?;
        let (lines, receiver) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            let reader = Reader { path: container.log_path(), container, options, lines };
            if let Err(error) = reader.run() {
                // The reader who left does not hear of it, and need not.
                reader.lines.blocking_send(Err(error)).ok();
            }
        });
        Ok(LogStream(receiver))
    }
}

struct Reader {
    path: PathBuf,
    container: Arc<Container>,
    options: LogOptions,
    lines: mpsc::Sender<Result<LogLine, EngineError>>,
}

/// The receiver is gone.
struct Gone;

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    log: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    stream: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
}

impl Reader {
    fn run(&self) -> Result<(), EngineError> {
        // Watching begins before the first read: what is written in between is then noticed, not missed.
        let watch = if self.options.follow { Some(watch(&self.path)?) } else { None };
        let mut held = VecDeque::new();
        let mut current = None;
        for path in files(&self.path) {
            let Some(mut file) = open(&path)? else { continue };
            if self.read_lines(&mut file, &path, &mut held).is_err() {
                return Ok(());
            }
            current = Some(file);
        }
        for line in held.drain(..) {
            if self.send(line).is_err() {
                return Ok(());
            }
        }
        match watch {
            Some(watch) => self.follow(current, &watch),
            None => Ok(()),
        }
    }

    /// Reads to the end of a file. With `tail`, lines are held back and the oldest dropped.
    fn read_lines(&self, file: &mut Tail, path: &Path, held: &mut VecDeque<LogLine>) -> Result<(), Gone> {
        while let Some(line) = file.next_line() {
            let Some(line) = line.map_err(EngineError::io("read", path)).transpose_line(self)? else { continue };
            match self.options.tail {
                Some(tail) => {
                    held.push_back(line);
                    if held.len() > tail {
                        held.pop_front();
                    }
                }
                None => self.send(line)?,
            }
        }
        Ok(())
    }

    fn follow(&self, current: Option<Tail>, watch: &std::os::fd::OwnedFd) -> Result<(), EngineError> {
        let mut current = current;
        loop {
            // Asked before reading: what was written before the end is read after learning of it.
            let ended = matches!(*self.container.watch().borrow(), Phase::Exited(_) | Phase::Removed(_));
            loop {
                if let Some(file) = &mut current {
                    while let Some(line) = file.next_line() {
                        let line = line.map_err(EngineError::io("read", &self.path))?;
                        if let Some(line) = self.wanted(&line)
                            && self.send(line).is_err()
                        {
                            return Ok(());
                        }
                    }
                }
                // At the end of this file: is it still the one that is written to?
                match open(&self.path)? {
                    Some(next) if current.as_ref().is_none_or(|old| old.inode != next.inode) => {
                        let replaced = current.replace(next);
                        // The last lines may have been written between the read above and the rename.
                        if let Some(mut old) = replaced {
                            while let Some(Ok(line)) = old.next_line() {
                                if let Some(line) = self.wanted(&line)
                                    && self.send(line).is_err()
                                {
                                    return Ok(());
                                }
                            }
                        }
                    }
                    _ => break,
                }
            }
            if ended || self.lines.is_closed() {
                return Ok(());
            }
            await_change(watch)?;
        }
    }

    fn wanted(&self, bytes: &[u8]) -> Option<LogLine> {
        // A line that is no JSON was cut off by a full disk; what follows it is whole again.
        let entry: Entry<'_> = serde_json::from_slice(bytes).ok()?;
        let stream = if entry.stream == "stderr" { 2 } else { 1 };
        if (stream == 1 && !self.options.stdout) || (stream == 2 && !self.options.stderr) {
            return None;
        }
        if self.options.since.is_some() || self.options.until.is_some() {
            let time: Timestamp = entry.time.parse().ok()?;
            if self.options.since.is_some_and(|since| time < since)
                || self.options.until.is_some_and(|until| time > until)
            {
                return None;
            }
        }
        Some(LogLine { time: entry.time.into_owned(), stream, text: entry.log.into_owned() })
    }

    fn send(&self, line: LogLine) -> Result<(), Gone> {
        self.lines.blocking_send(Ok(line)).map_err(|_| Gone)
    }
}

/// A read that may fail, made a wanted line or a report to the receiver.
trait TransposeLine {
    fn transpose_line(self, reader: &Reader) -> Result<Option<LogLine>, Gone>;
}

impl TransposeLine for Result<Vec<u8>, EngineError> {
    fn transpose_line(self, reader: &Reader) -> Result<Option<LogLine>, Gone> {
        match self {
            Ok(bytes) => Ok(reader.wanted(&bytes)),
            Err(error) => {
                reader.lines.blocking_send(Err(error)).map_err(|_| Gone)?;
                Err(Gone)
            }
        }
    }
}

/// A file that is read line by line while it grows.
struct Tail {
    file: BufReader<File>,
    inode: u64,
    /// A line whose end has not been written yet.
    partial: Vec<u8>,
}

impl Tail {
    /// The next whole line; `None` at the end of what is there.
    fn next_line(&mut self) -> Option<std::io::Result<Vec<u8>>> {
        match self.file.read_until(b'\n', &mut self.partial) {
            Ok(_) if self.partial.ends_with(b"\n") => Some(Ok(std::mem::take(&mut self.partial))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

fn open(path: &Path) -> Result<Option<Tail>, EngineError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EngineError::io("open", path)(error)),
    };
    let inode = file.metadata().map_err(EngineError::io("look at", path))?.ino();
    Ok(Some(Tail { file: BufReader::new(file), inode, partial: Vec::new() }))
}

/// The log's files, oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let mut files: Vec<PathBuf> = (1..).map(numbered).take_while(|file| file.exists()).collect();
    files.reverse();
    files.push(path.to_owned());
    files
}

/// A watch on the log's directory, which sees writes, and the new file of a rotation.
fn watch(path: &Path) -> Result<std::os::fd::OwnedFd, EngineError> {
    let directory = path.parent().unwrap_or(path);
    let failed = |errno: rustix::io::Errno| EngineError::io("watch", directory)(errno.into());
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&fd, directory, flags).map_err(failed)?;
    Ok(fd)
}

fn await_change(watch: &std::os::fd::OwnedFd) -> Result<(), EngineError> {
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
    let mut fds = [PollFd::new(watch, PollFlags::IN)];
    let failed = |errno: rustix::io::Errno| EngineError::io("wait for", "log lines")(errno.into());
    match poll(&mut fds, Some(&limit)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
        Ok(_) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(watch, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}
