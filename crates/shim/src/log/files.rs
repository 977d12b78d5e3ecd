// SPDX-License-Identifier: Apache-2.0
//! The files of one log: the newest at its path, older ones at `<path>.1`, `<path>.2` and so on, or `<path>.1.gz` where
//! they are compressed.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::compress::Compression;
use crate::protocol::LogConfig;

/// How far back the end of the last whole entry is searched in a log left by a crash: more than the longest entry, with
/// attributes of a moderate length.
const MAX_ENTRY: u64 = 256 << 10;

/// The files of one log, of which the newest is written to.
#[derive(Debug)]
pub(super) struct Files {
    config: LogConfig,
    pub(super) file: Option<File>,
    size: u64,
    compression: Option<Compression>,
}

impl Files {
    /// Opens the newest file, after the last whole line of what is there.
    pub(super) fn open(config: LogConfig) -> io::Result<Files> {
        let mut file = open_file(&config, OFlags::RDWR)?;
        let size = mend(&mut file)?;
        Ok(Files { config, file: Some(file), size, compression: None })
    }

    /// How many bytes the current file may still take (`None`: any), after rotation if `next` would not fit.
    pub(super) fn room_for(&mut self, next: usize) -> io::Result<Option<u64>> {
        let max = self.config.max_size;
        if max == 0 {
            return Ok(None);
        }
        if self.size > 0 && self.size + next as u64 > max {
            self.rotate()?;
        }
        Ok(Some(max.saturating_sub(self.size)))
    }

    /// Appends whole entries, or leaves the file as it was.
    pub(super) fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let mut file = open_file(&self.config, OFlags::RDWR)?;
            self.size = mend(&mut file)?;
            self.file = Some(file);
        }
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

    /// Waits until the file that was rotated last is compressed.
    pub(super) fn settle(&mut self) {
        if let Some(compression) = self.compression.take() {
            compression.finish();
        }
    }

    /// Moves every file one on, drops the oldest, starts a new one.
    fn rotate(&mut self) -> io::Result<()> {
        // It works on the file that moves on first. This slows a container that fills files faster than they can be
        // compressed, which keeps the bound.
        self.settle();
        let oldest = self.config.max_files.max(1) - 1;
        if oldest == 0 {
            std::fs::remove_file(&self.config.path)?;
        } else {
            for drop in self.forms(oldest) {
                absent_is_fine(std::fs::remove_file(drop))?;
            }
        }
        for age in (0..oldest).rev() {
            for (from, to) in self.forms(age).into_iter().zip(self.forms(age + 1)) {
                absent_is_fine(std::fs::rename(from, to))?;
            }
        }
        self.file = None;
        self.size = 0;
        self.file = Some(open_file(&self.config, OFlags::EXCL | OFlags::RDWR)?);
        if self.config.compress && oldest > 0 {
            self.compression = Some(Compression::start(self.aged(1)));
        }
        Ok(())
    }

    /// The path of the file that was rotated `age` times.
    pub(super) fn aged(&self, age: u32) -> PathBuf {
        if age == 0 {
            return self.config.path.clone();
        }
        with_suffix(&self.config.path, &format!(".{age}"))
    }

    /// The names that this file may have: as it was written, and compressed.
    fn forms(&self, age: u32) -> Vec<PathBuf> {
        let plain = self.aged(age);
        let compressed = (self.config.compress && age > 0).then(|| with_suffix(&plain, ".gz"));
        // The newest has no compressed form that could move on.
        std::iter::once(plain).chain(compressed).collect()
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
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
