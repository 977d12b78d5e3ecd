// SPDX-License-Identifier: Apache-2.0
//! `logs`: reading back what the shim wrote, across rotations, and following it.
//!
//! Nothing is read before somebody asks for it: a reader that stops asking holds no thread, no lock and no memory beyond
//! one batch, and the shim knows nothing of readers.

pub(crate) mod files;
pub(crate) mod follow;
pub(crate) mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use self::follow::{Follower, Step};
use self::watch::{Listener, Watch};
use crate::error::{LoggingError, blocking};
use crate::life::{Life, Stage};

/// So many lines are read at once, and so many bytes of text.
const BATCH_LINES: usize = 512;
const BATCH_BYTES: usize = 256 << 10;

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on until the container ends, or until the time `until`.
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
    /// What the log's options say of the container.
    pub attributes: BTreeMap<String, String>,
}

/// A line as the shim wrote it.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    log: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    stream: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// A line of a log file. `None`: it is no JSON, cut off by a full disk; what follows it is whole again.
pub(crate) fn parse(bytes: &[u8]) -> Option<LogLine> {
    let Entry { log, stream, time, attrs } = serde_json::from_slice(bytes).ok()?;
    let stream = if stream == "stderr" { 2 } else { 1 };
    Some(LogLine { time: time.into_owned(), stream, text: log.into_owned(), attributes: attrs })
}

/// Lines, as they come.
pub struct LogStream<L> {
    /// Absent at the end.
    reader: Option<Reader>,
    changes: Option<Listener>,
    life: L,
    until: Option<Timestamp>,
}

impl<L: Life> LogStream<L> {
    /// The log at `path`, of a container whose life `life` tells.
    ///
    /// # Errors
    /// It cannot be read, or not be watched.
    pub async fn open(
        watch: &Arc<Watch>,
        path: PathBuf,
        options: LogOptions,
        life: L,
    ) -> Result<LogStream<L>, LoggingError> {
        // Watching begins before the first read: what is written in between is then noticed, not missed.
        let changes = options.follow.then(|| watch.listen_beside(&path)).transpose()?;
        let until = options.until;
        let reader = blocking(move || Reader::new(path, options)).await?;
        Ok(LogStream { reader: Some(reader), changes, life, until })
    }

    /// The next lines, one at least; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Vec<LogLine>, LoggingError>> {
        loop {
            // Asked before reading: what was written before the end is read after learning of it.
            let ended = self.changes.is_none() || self.has_ended();
            let mut reader = self.reader.take()?;
            let read = tokio::task::spawn_blocking(move || (reader.batch(), reader)).await;
            let Ok((batch, reader)) = read else { return Some(Err(LoggingError::Worker)) };
            match batch {
                Err(error) => return Some(Err(error)),
                Ok(batch) => {
                    if !ended || !batch.is_empty() {
                        self.reader = Some(reader);
                    }
                    if !batch.is_empty() {
                        return Some(Ok(batch));
                    }
                }
            }
            if !ended {
                self.await_change().await;
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.life.stage(), Stage::Ended | Stage::Removed)
            || self.until.is_some_and(|until| until < Timestamp::now())
    }

    /// Waits until there may be more, or the end.
    async fn await_change(&mut self) {
        let until = self.until.map(|until| Timestamp::now().duration_until(until).unsigned_abs());
        // A thousandth of a second more, for lines of the last moment.
        let limit = async {
            match until {
                Some(left) => tokio::time::sleep(left + Duration::from_millis(1)).await,
                None => std::future::pending().await,
            }
        };
        let Some(changes) = &self.changes else { return };
        tokio::select! {
            () = changes.changed() => {}
            _ = self.life.changed() => {}
            () = limit => {}
        }
    }
}

struct Reader {
    path: PathBuf,
    follower: Follower,
    options: LogOptions,
    /// The last lines, where `tail` asked for them.
    held: VecDeque<LogLine>,
}

impl Reader {
    fn new(path: PathBuf, options: LogOptions) -> Result<Reader, LoggingError> {
        let follower = Follower::new(path.clone(), options.follow).map_err(LoggingError::io("read", &path))?;
        let mut reader = Reader { path, follower, options, held: VecDeque::new() };
        if let Some(tail) = reader.options.tail {
            reader.hold_last(tail).map_err(LoggingError::io("read", &reader.path))?;
        }
        Ok(reader)
    }

    /// Reads the last `tail` wanted lines, from the newest file back, and goes on behind them.
    fn hold_last(&mut self, tail: usize) -> std::io::Result<()> {
        let all = self.options.stdout && self.options.stderr;
        let unfiltered = all && self.options.since.is_none() && self.options.until.is_none();
        let mut files = std::mem::take(self.follower.files_mut());
        let mut newest = None;
        while let Some(mut file) = files.pop_back() {
            let missing = tail - self.held.len();
            if unfiltered || missing == 0 {
                file.skip_to_last(missing)?;
            }
            let (mut last, mut bytes) = (VecDeque::new(), Vec::new());
            while file.next_line(&mut bytes)? {
                last.extend(self.wanted(&bytes));
                if last.len() > missing {
                    last.pop_front();
                }
            }
            last.append(&mut self.held);
            self.held = last;
            newest.get_or_insert(file);
            if self.held.len() >= tail {
                break;
            }
        }
        self.follower.files_mut().extend(newest);
        Ok(())
    }

    /// Some lines; none at the end of what is there.
    fn batch(&mut self) -> Result<Vec<LogLine>, LoggingError> {
        let mut batch: Vec<LogLine> = Vec::new();
        let (mut size, mut bytes) = (0, Vec::new());
        while batch.len() < BATCH_LINES && size < BATCH_BYTES {
            if let Some(line) = self.held.pop_front() {
                size += line.text.len();
                batch.push(line);
                continue;
            }
            match self.follower.next(&mut bytes).map_err(LoggingError::io("read", &self.path))? {
                Step::Line => {
                    let line = self.wanted(&bytes);
                    size += line.as_ref().map_or(0, |line| line.text.len());
                    batch.extend(line);
                }
                Step::Gap => batch.push(gap()),
                Step::End => break,
            }
        }
        Ok(batch)
    }

    fn wanted(&self, bytes: &[u8]) -> Option<LogLine> {
        let line = parse(bytes)?;
        if (line.stream == 1 && !self.options.stdout) || (line.stream == 2 && !self.options.stderr) {
            return None;
        }
        if self.options.since.is_some() || self.options.until.is_some() {
            let time: Timestamp = line.time.parse().ok()?;
            let early = self.options.since.is_some_and(|since| time < since);
            let late = self.options.until.is_some_and(|until| time > until);
            if early || late {
                return None;
            }
        }
        Some(line)
    }
}

/// What is told in the place of lines that nobody can read any more.
pub(crate) fn gap() -> LogLine {
    notice("log lines were rotated away before they could be read")
}

/// A line of our own.
pub(crate) fn notice(text: &str) -> LogLine {
    LogLine {
        time: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string(),
        stream: 2,
        text: format!("corten: {text}\n"),
        attributes: BTreeMap::new(),
    }
}
