// SPDX-License-Identifier: Apache-2.0
//! The archive's bytes: hashed as they come, handed out from one reused buffer.

use std::io::{self, Read};

use oci::{Digest, Hasher};

use crate::error::FormatError;
use crate::{Limits, UnpackError};

/// The unit of the format.
pub(crate) const BLOCK: usize = 512;
/// Small enough for the second-level cache, so that hashing, copying and writing find it there.
const BUFFER: usize = 128 << 10;

/// Takes the archive's bytes as they come.
pub(crate) type Keep<'k> = &'k mut dyn FnMut(&[u8]) -> io::Result<()>;

/// A reader that knows where it is, and what it has hashed.
pub(crate) struct Stream<'k, R> {
    source: R,
    keep: Option<Keep<'k>>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes taken from the source.
    length: u64,
    max: u64,
    hasher: Hasher,
    ended: bool,
}

impl<'k, R: Read> Stream<'k, R> {
    pub(crate) fn new(source: R, keep: Option<Keep<'k>>, limits: &Limits) -> Stream<'k, R> {
        let buffer = vec![0; BUFFER];
        let max = limits.max_bytes;
        Stream { source, keep, buffer, start: 0, end: 0, length: 0, max, hasher: Hasher::new(), ended: false }
    }

    /// Bytes handed out so far.
    pub(crate) fn position(&self) -> u64 {
        self.length - (self.end - self.start) as u64
    }

    pub(crate) fn format(&self, source: FormatError) -> UnpackError {
        UnpackError::Format { offset: self.position(), source }
    }

    /// The next bytes, at most `max`; empty at the end of the stream only (or when `max` is 0).
    pub(crate) fn take(&mut self, max: u64) -> Result<&[u8], UnpackError> {
        if self.start == self.end && max > 0 {
            self.fill()?;
        }
        let available = self.end - self.start;
        let taken = usize::try_from(max).map_or(available, |max| available.min(max));
        let start = self.start;
        self.start += taken;
        Ok(&self.buffer[start..start + taken])
    }

    /// Fills the whole buffer unless the stream ends: a file that fits is then written by one call.
    fn fill(&mut self) -> Result<(), UnpackError> {
        (self.start, self.end) = (0, 0);
        while self.end < self.buffer.len() && !self.ended {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::Read(error)),
            }
        }
        self.hasher.update(&self.buffer[..self.end]);
        self.length += self.end as u64;
        if self.length > self.max {
            return Err(UnpackError::Limit { what: "bytes in its archive", limit: self.max });
        }
        match &mut self.keep {
            Some(keep) => keep(&self.buffer[..self.end]).map_err(UnpackError::Keep),
            None => Ok(()),
        }
    }

    /// The next block. False when the stream ends exactly here.
    pub(crate) fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, UnpackError> {
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.take((BLOCK - filled) as u64)?;
            if bytes.is_empty() {
                return if filled == 0 { Ok(false) } else { Err(self.format(FormatError::Truncated)) };
            }
            block[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        Ok(true)
    }

    /// Passes over `count` bytes.
    pub(crate) fn skip(&mut self, mut count: u64) -> Result<(), UnpackError> {
        while count > 0 {
            let passed = self.take(count)?.len() as u64;
            if passed == 0 {
                return Err(self.format(FormatError::Truncated));
            }
            count -= passed;
        }
        Ok(())
    }

    /// Reads what is left. The digest of everything, and its length in bytes.
    pub(crate) fn finish(&mut self) -> Result<(Digest, u64), UnpackError> {
        while !self.take(u64::MAX)?.is_empty() {}
        Ok((std::mem::take(&mut self.hasher).finish(), self.length))
    }
}
