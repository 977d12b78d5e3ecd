// SPDX-License-Identifier: Apache-2.0
//! The files of a log that are still to be read. Only the newest, which grows, is open before its turn comes: however many
//! there are, a reader has a few descriptors. The others are found again by how they begin, wherever rotations have moved
//! them, and keep no room on the disk that a rotation has given back.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::files::{LogFile, look};

/// A file that is still to be read.
pub(crate) enum Waiting {
    /// The newest one, or one by whose beginning it cannot be known.
    Open(LogFile),
    /// Any other.
    Closed(Place),
}

/// Where reading of a closed file begins, and ends.
pub(crate) struct Place {
    /// The time of its first line.
    pub(crate) began: String,
    /// It is at least as old.
    pub(crate) age: u32,
    /// So many bytes of it are not wanted.
    pub(crate) offset: u64,
    /// Where to stop.
    pub(crate) limit: Option<u64>,
    /// How long it is; `None` of a compressed file.
    pub(crate) length: Option<u64>,
}

impl Waiting {
    /// Opens it; `None` when it was rotated away. `path` is that of the log's newest file.
    pub(crate) fn open(self, path: &Path) -> io::Result<Option<LogFile>> {
        let place = match self {
            Waiting::Open(file) => return Ok(Some(file)),
            Waiting::Closed(place) => place,
        };
        let mut found = None;
        look(path, place.age, |file| {
            if !file.began_at(&place.began) {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some(file);
            Ok(ControlFlow::Break(()))
        })?;
        if let Some(file) = &mut found {
            file.go_on(&place)?;
        }
        Ok(found)
    }

    pub(crate) fn began_at(&self, time: &str) -> bool {
        match self {
            Waiting::Open(file) => file.began_at(time),
            Waiting::Closed(place) => place.began == time,
        }
    }

    pub(crate) fn is(&self, file: &LogFile) -> bool {
        match self {
            Waiting::Open(own) => own.is_same(file),
            Waiting::Closed(place) => file.began_at(&place.began),
        }
    }

    /// How long it is; `None` of a compressed file.
    pub(crate) fn length(&self) -> io::Result<Option<u64>> {
        match self {
            Waiting::Open(file) => file.length(),
            Waiting::Closed(place) => Ok(place.length),
        }
    }
}

/// The files of the log at `path`, the oldest first. `ending`: the newest one ends where it ends now.
pub(crate) fn scan(path: &Path, ending: bool) -> io::Result<Vec<Waiting>> {
    let mut files: Vec<Waiting> = Vec::new();
    look(path, 0, |mut file| {
        if ending {
            file.end_here()?;
        }
        if !files.iter().any(|known| known.is(&file)) {
            files.push(file.set_aside()?);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    files.reverse();
    Ok(files)
}
