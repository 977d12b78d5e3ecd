// SPDX-License-Identifier: Apache-2.0
//! The container's log in Docker's json-file format: one JSON object per line,
//! `{"log":"…\n","stream":"stdout","time":"2026-11-23T06:17:56.123456789Z"}`.
//!
//! A line is logged when its newline comes; one over 16 KiB is split, and every part but the last has no newline, nor
//! has the end of a stream that lacks one. Bytes that are not UTF-8 are replaced by U+FFFD. All files together are
//! bounded: before a file would pass its limit it becomes `<path>.1`, the older ones move on, the oldest goes.
//!
//! A disk that refuses writes must not hurt the container. The log goes back to its last whole line, and lines are
//! counted as lost, until a write succeeds again; then the log itself says once, on `stderr`, how many and why.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::clock;
use crate::protocol::LogConfig;

/// The longest part of a line in one entry, in bytes; Docker's.
const MAX_PART: usize = 16 << 10;
/// When a batch of entries is written, at the latest, in bytes.
const MAX_BATCH: usize = 32 << 10;
/// How far back the end of the last whole entry is searched in a log left by a crash: more than the longest entry.
const MAX_ENTRY: u64 = 128 << 10;

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
    config: LogConfig,
    file: Option<File>,
    size: u64,
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
    pub fn open(config: LogConfig) -> io::Result<LogWriter> {
        let mut file = open_file(&config, OFlags::RDWR)?;
        let size = mend(&mut file)?;
        Ok(LogWriter {
            config,
            file: Some(file),
            size,
            pending: [Vec::new(), Vec::new()],
            batch: Vec::new(),
            ends: Vec::new(),
            loss: None,
            lost: 0,
        })
    }

    /// Logs the next bytes of `stream`.
    pub fn write(&mut self, stream: LogStream, mut bytes: &[u8]) {
        let now = clock::now();
        while let Some(newline) = bytes.iter().position(|&b| b == b'\n') {
            let (line, rest) = bytes.split_at(newline + 1);
            if self.pending[stream as usize].is_empty() && newline <= MAX_PART {
                self.entry(stream, line, &now);
            } else {
                self.gather(stream, line, &now);
                let pending = std::mem::take(&mut self.pending[stream as usize]);
                self.entry(stream, &pending, &now);
            }
            bytes = rest;
        }
        self.gather(stream, bytes, &now);
        self.flush();
    }

    /// Logs what came of `stream` after its last newline: there will be no more.
    pub fn end(&mut self, stream: LogStream) {
        let pending = std::mem::take(&mut self.pending[stream as usize]);
        if !pending.is_empty() {
            self.entry(stream, &pending, &clock::now());
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

    /// Adds to the line in progress, logging parts of it when it grows over [`MAX_PART`].
    fn gather(&mut self, stream: LogStream, mut bytes: &[u8], now: &str) {
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
    fn entry(&mut self, stream: LogStream, line: &[u8], now: &str) {
        write_entry(&mut self.batch, stream, line, now);
        self.ends.push(self.batch.len());
        // Short lines grow much in the log: a batch that waited for a whole chunk of them would be large.
        if self.batch.len() >= MAX_BATCH {
            self.flush();
        }
    }

    /// Writes the batch, as many entries at once as fit the file.
    fn flush(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let ends = std::mem::take(&mut self.ends);
        let (mut from, mut first) = (0, 0);
        while first < ends.len() {
            let count = match self.room_for(ends[first] - from) {
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

    /// How many bytes the current file may still take (`None`: any), after rotation if `next` would not fit.
    fn room_for(&mut self, next: usize) -> io::Result<Option<u64>> {
        let max = self.config.max_size;
        if max == 0 {
            return Ok(None);
        }
        if self.size > 0 && self.size + next as u64 > max {
            self.rotate()?;
        }
        Ok(Some(max.saturating_sub(self.size)))
    }

    /// Writes whole entries, or none of them.
    fn put(&mut self, entries: &[u8], count: u64) {
        match self.try_put(entries) {
            Ok(()) => {}
            Err(e) => self.fail(&e, count),
        }
    }

    fn try_put(&mut self, entries: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let mut file = open_file(&self.config, OFlags::RDWR)?;
            self.size = mend(&mut file)?;
            self.file = Some(file);
        }
        if let Some(loss) = self.loss.take() {
            let mut notice = Vec::new();
            let text = format!("corten: {} log lines were lost since {}: {}\n", loss.lines, loss.since, loss.why);
            write_entry(&mut notice, LogStream::Stderr, text.as_bytes(), &clock::now());
            if let Err(e) = self.append(&notice) {
                self.loss = Some(loss);
                return Err(e);
            }
        }
        self.append(entries)
    }

    /// Appends, or leaves the file as it was.
    fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        let Some(file) = self.file.as_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        match file.write_all(entries) {
            Ok(()) => {
                self.size += entries.len() as u64;
                Ok(())
            }
            Err(e) => {
                // Half an entry would make the rest unreadable. If even this fails the file is mended when reopened.
                match mend(file) {
                    Ok(size) => self.size = size,
                    Err(_) => self.file = None,
                }
                Err(e)
            }
        }
    }

    fn fail(&mut self, error: &io::Error, lines: u64) {
        let loss = self.loss.get_or_insert_with(|| Loss { since: clock::now(), ..Loss::default() });
        loss.lines += lines;
        loss.why = error.to_string();
        self.lost += lines;
    }

    /// Moves every file one on, drops the oldest, starts a new one.
    fn rotate(&mut self) -> io::Result<()> {
        let oldest = self.config.max_files.max(1) - 1;
        for age in (0..oldest).rev() {
            match std::fs::rename(self.aged(age), self.aged(age + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        if oldest == 0 {
            std::fs::remove_file(&self.config.path)?;
        }
        self.file = None;
        self.size = 0;
        self.file = Some(open_file(&self.config, OFlags::EXCL | OFlags::RDWR)?);
        Ok(())
    }

    /// The path of the file that was rotated `age` times.
    fn aged(&self, age: u32) -> PathBuf {
        if age == 0 {
            return self.config.path.clone();
        }
        let mut name = self.config.path.clone().into_os_string();
        name.push(format!(".{age}"));
        name.into()
    }
}

fn open_file(config: &LogConfig, extra: OFlags) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | extra;
    Ok(openat(CWD, &config.path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Cuts off what comes after the last newline (a crash in the middle of a write); the file's length.
fn mend(file: &mut File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut end = size;
    let lowest = size.saturating_sub(MAX_ENTRY);
    let mut block = [0; 512];
    while end > lowest {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(newline) = part.iter().rposition(|&b| b == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    if end < size {
        file.set_len(end)?;
    }
    Ok(end)
}

/// How many bytes at the end are the beginning of a UTF-8 character whose rest is still to come.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(4);
    match std::str::from_utf8(&bytes[last..]).map_err(|e| (e.error_len(), e.valid_up_to())) {
        Err((None, valid)) => bytes.len() - last - valid,
        // The window may begin inside a character: look again behind it.
        Err((Some(_), _)) => (1..=3.min(bytes.len()))
            .find(|&n| matches!(std::str::from_utf8(&bytes[bytes.len() - n..]), Err(e) if e.error_len().is_none() && e.valid_up_to() == 0))
            .unwrap_or(0),
        Ok(_) => 0,
    }
}

/// Appends one entry to `out`.
fn write_entry(out: &mut Vec<u8>, stream: LogStream, line: &[u8], time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in line.utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Appends `text` as the inside of a JSON string (RFC 8259, section 7).
fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => Some(b'"'),
            b'\\' => Some(b'\\'),
            b'\n' => Some(b'n'),
            b'\r' => Some(b'r'),
            b'\t' => Some(b't'),
            0..0x20 | 0x7f => None,
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match short {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None => {
                let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

#[cfg(test)]
mod tests;
