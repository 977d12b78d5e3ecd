// SPDX-License-Identifier: Apache-2.0
//! The container's log in Docker's json-file format: one JSON object per line,
//! `{"log":"…\n","stream":"stdout","attrs":{…},"time":"2026-11-23T06:17:56.123456789Z"}`.
//!
//! A line is logged when its newline comes; one over 16 KiB is split, and every part but the last has no newline, nor
//! has the end of a stream that lacks one. Bytes that are not UTF-8 are replaced by U+FFFD. Lines that were read at once
//! are a nanosecond apart, so that a time tells where a reader was. All files together are bounded: before a file would
//! pass its limit it becomes `<path>.1` ([`files`]), the older ones move on, the oldest goes.
//!
//! A disk that refuses writes must not hurt the container. The log goes back to its last whole line, and lines are
//! counted as lost, until a write succeeds again; then the log itself says once, on `stderr`, how many and why.

mod compress;
mod entry;
mod files;

use std::io::{self, BufRead as _};

use self::entry::{incomplete_tail, middle, write_entry};
use self::files::Files;
use crate::clock::{self, Stamp};
use crate::protocol::LogConfig;

/// The longest part of a line in one entry, in bytes; Docker's.
const MAX_PART: usize = 16 << 10;
/// When a batch of entries is written, at the latest, in bytes.
const MAX_BATCH: usize = 32 << 10;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    fn name(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
        }
    }
}

/// Lines that a failing disk swallowed, since the last write that succeeded.
#[derive(Debug, Default)]
struct Loss {
    lines: u64,
    since: String,
    why: String,
}

/// Writes the log of one container. Never fails after [`LogWriter::open`]: see [`LogWriter::failure`].
#[derive(Debug)]
pub struct LogWriter {
    /// What stands between line and time in an entry of each stream.
    middles: [Vec<u8>; 2],
    files: Files,
    pending: [Vec<u8>; 2],
    /// Entries that are complete and not written yet, and where each ends.
    batch: Vec<u8>,
    ends: Vec<usize>,
    loss: Option<Loss>,
    lost: u64,
}

impl LogWriter {
    /// Opens the log, after the last whole line of what is there.
    ///
    /// # Errors
    /// The file cannot be made, opened or read.
    pub fn open(mut config: LogConfig) -> io::Result<LogWriter> {
        let attrs = std::mem::take(&mut config.attrs);
        Ok(LogWriter {
            middles: [LogStream::Stdout, LogStream::Stderr].map(|stream| middle(stream, &attrs)),
            files: Files::open(config)?,
            pending: [Vec::new(), Vec::new()],
            batch: Vec::new(),
            ends: Vec::new(),
            loss: None,
            lost: 0,
        })
    }

    /// Logs the next bytes of `stream`: its lines are in the file when [`LogWriter::flush`] was called.
    pub fn write(&mut self, stream: LogStream, mut bytes: &[u8]) {
        let mut now = Stamp::now();
        while let Some(newline) = newline_in(bytes) {
            let (line, rest) = bytes.split_at(newline + 1);
            if self.pending[stream as usize].is_empty() && newline <= MAX_PART {
                self.entry(stream, line, &mut now);
            } else {
                self.gather(stream, line, &mut now);
                let pending = std::mem::take(&mut self.pending[stream as usize]);
                self.entry(stream, &pending, &mut now);
            }
            bytes = rest;
        }
        self.gather(stream, bytes, &mut now);
    }

    /// Logs what came of `stream` after its last newline: there will be no more.
    pub fn end(&mut self, stream: LogStream) {
        let pending = std::mem::take(&mut self.pending[stream as usize]);
        if !pending.is_empty() {
            self.entry(stream, &pending, &mut Stamp::now());
        }
        self.flush();
    }

    /// How many lines were lost to failing writes, ever.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Why lines are being lost, while they are.
    pub fn failure(&self) -> Option<&str> {
        self.loss.as_ref().map(|loss| loss.why.as_str())
    }

    /// Waits until nothing is made of the log any more: a file that is being compressed is whole then.
    pub fn settle(&mut self) {
        self.files.settle();
    }

    /// Adds to the line in progress, logging parts of it when it grows over [`MAX_PART`].
    fn gather(&mut self, stream: LogStream, mut bytes: &[u8], now: &mut Stamp) {
        let index = stream as usize;
        // A newline does not count: a line of exactly MAX_PART bytes is one entry.
        while self.pending[index].len() + bytes.strip_suffix(b"\n").unwrap_or(bytes).len() > MAX_PART {
            let mut part = std::mem::take(&mut self.pending[index]);
            let (first, rest) = bytes.split_at(MAX_PART - part.len());
            part.extend_from_slice(first);
            let keep = incomplete_tail(&part);
            let carry = part.split_off(part.len() - keep);
            self.entry(stream, &part, now);
            self.pending[index] = carry;
            bytes = rest;
        }
        self.pending[index].extend_from_slice(bytes);
    }

    /// Adds one entry to the batch.
    fn entry(&mut self, stream: LogStream, line: &[u8], now: &mut Stamp) {
        write_entry(&mut self.batch, line, &self.middles[stream as usize], now);
        now.advance();
        self.ends.push(self.batch.len());
        // Short lines grow much in the log: a batch that waited for a whole chunk of them would be large.
        if self.batch.len() >= MAX_BATCH {
            self.flush();
        }
    }

    /// Writes the entries that are complete, as many at once as fit the file.
    pub fn flush(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let ends = std::mem::take(&mut self.ends);
        let (mut from, mut first) = (0, 0);
        while first < ends.len() {
            let count = match self.files.room_for(ends[first] - from) {
                Ok(room) => {
                    let fits = |&&end: &&usize| room.is_none_or(|room| (end - from) as u64 <= room);
                    let count = ends[first..].iter().take_while(fits).count().max(1);
                    self.put(&batch[from..ends[first + count - 1]], count as u64);
                    count
                }
                Err(e) => {
                    // A file that cannot be rotated may not grow: the bound holds.
                    self.fail(&e, 1);
                    1
                }
            };
            first += count;
            from = ends[first - 1];
        }
        // The buffers are kept for the next batch, unless an unusual one made them large.
        if batch.capacity() <= 2 * MAX_BATCH {
            (self.batch, self.ends) = (batch, ends);
            self.batch.clear();
            self.ends.clear();
        }
    }

    /// Writes whole entries, or none of them.
    fn put(&mut self, entries: &[u8], count: u64) {
        match self.try_put(entries) {
            Ok(()) => {}
            Err(e) => self.fail(&e, count),
        }
    }

    fn try_put(&mut self, entries: &[u8]) -> io::Result<()> {
        if let Some(loss) = self.loss.take() {
            let mut notice = Vec::new();
            let text = format!("corten: {} log lines were lost since {}: {}\n", loss.lines, loss.since, loss.why);
            write_entry(&mut notice, text.as_bytes(), &self.middles[LogStream::Stderr as usize], &Stamp::now());
            if let Err(e) = self.files.append(&notice) {
                self.loss = Some(loss);
                return Err(e);
            }
        }
        self.files.append(entries)
    }

    fn fail(&mut self, error: &io::Error, lines: u64) {
        let loss = self.loss.get_or_insert_with(|| Loss { since: clock::now(), ..Loss::default() });
        loss.lines += lines;
        loss.why = error.to_string();
        self.lost += lines;
    }
}

/// Where the first newline is. The standard library's search is memchr(3)'s, many bytes at once.
fn newline_in(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    // Reading from memory cannot fail.
    let until = rest.skip_until(b'\n').ok()?.checked_sub(1)?;
    (bytes.get(until) == Some(&b'\n')).then_some(until)
}

#[cfg(test)]
mod tests;
