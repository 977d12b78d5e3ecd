// SPDX-License-Identifier: Apache-2.0
//! `logs`: reading back what the shim wrote, across rotations, and following it.
//!
//! Nothing is read before somebody asks for it: a reader that stops asking holds no thread, no lock and no memory beyond
//! one batch, however many lines it wants, and the shim knows nothing of readers.

pub(crate) mod files;
pub(crate) mod follow;
pub(crate) mod waiting;
pub(crate) mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use self::follow::{Follower, Step};
use self::watch::{Listener, Watch};
use crate::error::{LoggingError, blocking};
use crate::life::{Life, Stage};

/// So many lines are read at once, and so many bytes, wanted or not.
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
            let Batch { lines, at_end } = match batch {
                Err(error) => return Some(Err(error)),
                Ok(batch) => batch,
            };
            if !ended || !at_end {
                self.reader = Some(reader);
            }
            if !lines.is_empty() {
                return Some(Ok(lines));
            }
            if !ended && at_end {
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
    /// So many of the next wanted lines are older than those that `tail` asked for.
    skip: usize,
}

/// What was read at once.
struct Batch {
    lines: Vec<LogLine>,
    /// Whether that was all that there was.
    at_end: bool,
}

impl Reader {
    fn new(path: PathBuf, options: LogOptions) -> Result<Reader, LoggingError> {
        let follower = Follower::new(path.clone(), options.follow).map_err(LoggingError::io("read", &path))?;
        let mut reader = Reader { path, follower, options, skip: 0 };
        if let Some(tail) = reader.options.tail {
            reader.skip_to_last(tail).map_err(LoggingError::io("read", &reader.path))?;
        }
        Ok(reader)
    }

    /// Goes on with the last `tail` wanted lines: they are counted, from the newest file back, and read again.
    fn skip_to_last(&mut self, tail: usize) -> io::Result<()> {
        let all = self.options.stdout && self.options.stderr;
        let unfiltered = all && self.options.since.is_none() && self.options.until.is_none();
        let mut files = std::mem::take(self.follower.files_mut());
        let (mut found, mut last) = (0, VecDeque::new());
        while let Some(waiting) = files.pop_back() {
            // Rotated away: then what is older is, too.
            let Some(mut file) = waiting.open(&self.path)? else { break };
            let missing = tail.saturating_sub(found);
            if unfiltered || missing == 0 {
                file.skip_to_last(missing)?;
            }
            found += file.count(|line| self.wanted(line).is_some())?;
            last.push_front(file.set_aside()?);
            if found >= tail {
                break;
            }
        }
        self.skip = found.saturating_sub(tail);
        *self.follower.files_mut() = last;
        Ok(())
    }

    /// Some lines; perhaps none, where none of those that were looked at is wanted.
    fn batch(&mut self) -> Result<Batch, LoggingError> {
        let mut lines: Vec<LogLine> = Vec::new();
        let (mut size, mut bytes) = (0, Vec::new());
        while lines.len() < BATCH_LINES && size < BATCH_BYTES {
            match self.follower.next(&mut bytes).map_err(LoggingError::io("read", &self.path))? {
                Step::Line => {
                    size += bytes.len();
                    let Some(line) = self.wanted(&bytes) else { continue };
                    match self.skip.checked_sub(1) {
                        Some(left) => self.skip = left,
                        None => lines.push(line),
                    }
                }
                Step::Gap => lines.push(gap()),
                Step::End => return Ok(Batch { lines, at_end: true }),
            }
        }
        Ok(Batch { lines, at_end: false })
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Lines with these numbers; every third one is of standard error.
    fn lines(numbers: std::ops::Range<u32>) -> String {
        let stream = |number: u32| if number.is_multiple_of(3) { "stderr" } else { "stdout" };
        let line = |number| {
            let stream = stream(number);
            format!(
                "{{\"log\":\"{number}\\n\",\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:00:00.{number:09}Z\"}}\n"
            )
        };
        numbers.map(line).collect()
    }

    /// A log of three files, the oldest one compressed, with the numbers from 0 to 29.
    fn log(dir: &std::path::Path) -> PathBuf {
        let path = dir.join("log");
        std::fs::write(&path, lines(20..30)).unwrap();
        std::fs::write(dir.join("log.1"), lines(10..20)).unwrap();
        let oldest = std::fs::File::create(dir.join("log.2.gz")).unwrap();
        let mut oldest = flate2::write::GzEncoder::new(oldest, flate2::Compression::fast());
        oldest.write_all(lines(0..10).as_bytes()).unwrap();
        oldest.finish().unwrap();
        path
    }

    fn read(path: &std::path::Path, options: LogOptions) -> Vec<u32> {
        let mut reader = Reader::new(path.to_owned(), options).unwrap();
        let mut numbers = Vec::new();
        loop {
            let Batch { lines, at_end } = reader.batch().unwrap();
            numbers.extend(lines.iter().map(|line| line.text.trim().parse::<u32>().unwrap()));
            if at_end {
                return numbers;
            }
        }
    }

    #[test]
    fn the_last_lines_are_found_across_files_and_whatever_else_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = log(dir.path());
        for tail in [0, 1, 10, 11, 25, 30, 31, usize::MAX] {
            let first = 30_u32.saturating_sub(u32::try_from(tail).unwrap_or(u32::MAX));
            let options = LogOptions { tail: Some(tail), stdout: true, stderr: true, ..LogOptions::default() };
            assert_eq!(read(&path, options.clone()), (first..30).collect::<Vec<_>>(), "{tail}");
            assert_eq!(read(&path, LogOptions { follow: true, ..options }), (first..30).collect::<Vec<_>>(), "{tail}");
            let errors = LogOptions { tail: Some(tail), stderr: true, ..LogOptions::default() };
            let all: Vec<u32> = (0..30).filter(|number| number % 3 == 0).collect();
            assert_eq!(read(&path, errors), all[all.len().saturating_sub(tail)..], "{tail}");
        }
        let until = "2026-01-01T00:00:00.000000024Z".parse().ok();
        let options = LogOptions { tail: Some(3), until, stdout: true, stderr: true, ..LogOptions::default() };
        assert_eq!(read(&path, options), [22, 23, 24]);
    }

    /// How many files of this directory this process has open.
    fn open_files(dir: &std::path::Path) -> usize {
        let all = std::fs::read_dir("/proc/self/fd").unwrap();
        all.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|to| to.starts_with(dir)))
            .count()
    }

    /// All files of a log were open from the beginning.
    #[test]
    fn a_log_of_many_files_takes_few_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let path = log(dir.path());
        let aged = |age: u32| dir.path().join(format!("log.{age}"));
        for age in 3..50 {
            std::fs::write(aged(age), lines(1000 - age * 10..1010 - age * 10)).unwrap();
        }
        let numbers: Vec<u32> = (510..980).chain(0..30).collect();
        for tail in [None, Some(400)] {
            let options = LogOptions { stdout: true, stderr: true, tail, ..LogOptions::default() };
            let mut reader = Reader::new(path.clone(), options).unwrap();
            assert_eq!(open_files(dir.path()), 1, "{tail:?}");
            let (mut read, mut bytes, mut most) = (0, Vec::new(), 0);
            while reader.follower.next(&mut bytes).unwrap() == Step::Line {
                read += 1;
                most = most.max(open_files(dir.path()));
            }
            let wanted = numbers.len() - tail.map_or(0, |tail| numbers.len() - tail);
            assert!(most <= 2 && read == wanted + reader.skip, "{tail:?}: {most} open, {read} read");
        }
        // While they wait, they grow older; one is compressed, two are gone when their turn comes.
        let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
        let mut reader = Reader::new(path.clone(), options).unwrap();
        for age in [49, 48] {
            std::fs::remove_file(aged(age)).unwrap();
        }
        for age in (3..48).rev() {
            std::fs::rename(aged(age), aged(age + 1)).unwrap();
        }
        let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        compressed.write_all(&std::fs::read(aged(30)).unwrap()).unwrap();
        std::fs::write(dir.path().join("log.30.gz"), compressed.finish().unwrap()).unwrap();
        std::fs::remove_file(aged(30)).unwrap();
        let Batch { lines, at_end } = reader.batch().unwrap();
        assert!(at_end && lines[0] == LogLine { time: lines[0].time.clone(), ..gap() }, "{:?}", lines[0]);
        let read: Vec<u32> = lines[1..].iter().map(|line| line.text.trim().parse().unwrap()).collect();
        assert_eq!(read, numbers[20..]);
    }

    /// A reader looked through all of a log before it gave anything back, or heard that nobody was there any more.
    #[test]
    fn what_nobody_wants_is_looked_through_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let wanted = lines(0..10_000).replace("stderr", "stdout") + &lines(9_999..10_000);
        std::fs::write(&path, wanted).unwrap();
        let options = LogOptions { stderr: true, ..LogOptions::default() };
        let mut reader = Reader::new(path, options).unwrap();
        let first = reader.batch().unwrap();
        assert!(first.lines.is_empty() && !first.at_end);
        let (mut count, mut at_end) = (0, false);
        while !at_end {
            let batch = reader.batch().unwrap();
            (count, at_end) = (count + batch.lines.len(), batch.at_end);
        }
        assert_eq!(count, 1);
    }
}
