// SPDX-License-Identifier: Apache-2.0
//! A blob on its way: read piece by piece from wherever it is, and hashed as it is read. Whoever takes the pieces gets the
//! last one only when the digest is right, so what is wrong is never whole anywhere.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use oci::document::Descriptor;
use oci::{Digest, Hasher};

use crate::error::{TransferError, system};
use crate::progress::{Event, Progress, Status};
use crate::stop::Stop;

/// Bytes that are handed on at once.
pub(crate) const PIECE: usize = 256 << 10;

/// Where a blob's bytes come from.
pub(crate) trait Reader: Send + Sync {
    /// Reads bytes from `offset` on into `buffer`, and says how many; 0 at the end. May block.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, TransferError>;
}

/// A stretch of a file.
pub(crate) struct Stretch {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl Reader for Stretch {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, TransferError> {
        // Not more than fits into the buffer.
        let wanted = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        self.file
            .read_at(&mut buffer[..wanted], self.offset + offset)
            .map_err(|error| system("read", &self.path, error))
    }
}

/// What a blob must be, and who hears of it.
pub(crate) struct Expected<'a> {
    pub(crate) place: &'a str,
    pub(crate) what: &'static str,
    pub(crate) blob: &'a Descriptor,
}

/// A blob that is verified while it is read.
pub(crate) struct Verified {
    reader: Box<dyn Reader>,
    place: String,
    what: &'static str,
    digest: Digest,
    size: u64,
    stop: Stop,
    progress: Arc<dyn Progress>,
    state: Mutex<State>,
}

struct State {
    hasher: Hasher,
    /// Bytes from the front that were hashed.
    hashed: u64,
    /// Why no more can be had.
    failure: Option<TransferError>,
    is_right: bool,
}

impl Verified {
    pub(crate) fn new(
        reader: Box<dyn Reader>,
        expected: &Expected<'_>,
        stop: Stop,
        progress: Arc<dyn Progress>,
    ) -> Verified {
        let Expected { place, what, blob } = expected;
        Verified {
            reader,
            place: (*place).to_owned(),
            what,
            digest: blob.digest,
            size: blob.size,
            stop,
            progress,
            state: Mutex::new(State {
                hasher: Hasher::with(blob.digest.algorithm()),
                hashed: 0,
                failure: None,
                is_right: false,
            }),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Why it could not be read, where that is why something else failed.
    pub(crate) fn take_failure(&self) -> Option<TransferError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.take()
    }

    /// Reads as [`Reader::read_at`] does. What is read a second time (because an upload begins anew) is not hashed a second
    /// time: the registry that is sent it compares the digest as well.
    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<usize, TransferError> {
        if self.stop.is_stopped() {
            return Err(TransferError::Stopped);
        }
        // Not more than fits into the buffer.
        let wanted = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let count = if wanted == 0 { 0 } else { self.reader.read_at(&mut buffer[..wanted], offset)? };
        let end = offset + count as u64;
        if count == 0 && offset < self.size {
            return Err(self.wrong_size(offset));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if offset <= state.hashed && (end > state.hashed || end == self.size) {
            // Within the buffer: between `offset` and `end`.
            let new = (state.hashed - offset) as usize;
            state.hasher.update(&buffer[new.min(count)..count]);
            state.hashed = end;
            if end == self.size && !state.is_right {
                let found = std::mem::take(&mut state.hasher).finish();
                let wrong = |mismatch| TransferError::Digest { place: self.place.clone(), what: self.what, mismatch };
                self.digest.matches(found).map_err(wrong)?;
                state.is_right = true;
            }
            drop(state);
            self.progress.event(Event { blob: self.digest, status: Status::Copying { done: end, total: self.size } });
        }
        Ok(count)
    }

    fn wrong_size(&self, found: u64) -> TransferError {
        let (place, what, digest, expected) = (self.place.clone(), self.what, Box::new(self.digest), self.size);
        TransferError::Size { place, what, digest, expected, found }
    }

    /// Hands all of it to `take`, in order.
    pub(crate) fn for_each(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let mut buffer = vec![0; PIECE];
        let mut offset = 0;
        loop {
            let count = self.read(&mut buffer, offset)?;
            take(&buffer[..count])?;
            offset += count as u64;
            if offset == self.size {
                return Ok(());
            }
        }
    }

    /// All of it, which is known to be short.
    pub(crate) fn to_vec(&self) -> Result<Vec<u8>, TransferError> {
        let mut all = Vec::new();
        self.for_each(|piece| {
            all.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(all)
    }

    /// It, for readers of [`Read`].
    pub(crate) fn sequential(&self) -> Sequential<'_> {
        Sequential { blob: self, offset: 0 }
    }
}

impl registry_client::Source for Verified {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(buffer, offset).map_err(|error| {
            let text = errors::chain(&error);
            self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.get_or_insert(error);
            io::Error::other(text)
        })
    }
}

/// A blob read from front to back.
pub(crate) struct Sequential<'a> {
    blob: &'a Verified,
    offset: u64,
}

impl Read for Sequential<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = registry_client::Source::read_at(self.blob, buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
