// SPDX-License-Identifier: Apache-2.0
//! An archive's members one by one, for whoever looks into an archive without unpacking it.

use std::io::Read;

use oci::Digest;

use crate::reader::{Archive, Entry};
use crate::{Limits, UnpackError, name};

/// An archive being read. It is as hostile as any: what comes out has checked names and sizes within the limits, and
/// says nothing true beyond that.
pub struct Members<'l, R> {
    archive: Archive<'l, R>,
    limits: &'l Limits,
    entry: Entry,
    normal: Vec<u8>,
}

impl<'l, R: Read> Members<'l, R> {
    /// The members of the uncompressed archive `tar`.
    pub fn new(tar: R, limits: &'l Limits) -> Members<'l, R> {
        Members { archive: Archive::new(tar, limits), limits, entry: Entry::default(), normal: Vec::new() }
    }

    /// The next member, its name relative and without `.`, double and trailing slashes: empty for the root. What is
    /// left of the data of the one before is passed over.
    ///
    /// # Errors
    /// [`UnpackError`]; its kind is `Corrupt` for anything that is the archive's fault: a name that is absolute or leads
    /// upwards, a broken header, more than the limits allow.
    pub fn advance(&mut self) -> Result<Option<&Entry>, UnpackError> {
        if !self.archive.next(&mut self.entry)? {
            return Ok(None);
        }
        name::normalise(&self.entry.name, &mut self.normal, self.limits)
            .map_err(|refusal| UnpackError::refused(&self.entry.name, refusal))?;
        std::mem::swap(&mut self.entry.name, &mut self.normal);
        Ok(Some(&self.entry))
    }

    /// Which member of the archive the current one, a hard link, is a further name of: in the form that names have here.
    ///
    /// # Errors
    /// As [`Members::advance`], of a target.
    pub fn hard_link_target(&self) -> Result<Vec<u8>, UnpackError> {
        let mut target = Vec::new();
        name::normalise(&self.entry.link, &mut target, self.limits)
            .map_err(|refusal| UnpackError::refused(&self.entry.name, refusal))?;
        Ok(target)
    }

    /// Whether the current member is a file with holes: then its data is only what is between them.
    pub fn has_holes(&self) -> bool {
        self.entry.sparse.is_some()
    }

    /// The next piece of the current member's data; `None` at its end.
    ///
    /// # Errors
    /// The archive cannot be read, or ends here.
    pub fn piece(&mut self) -> Result<Option<&[u8]>, UnpackError> {
        if self.archive.data_left() == 0 {
            return Ok(None);
        }
        self.archive.more_data(u64::MAX).map(Some)
    }

    /// Reads what is behind the last member: the digest of the whole stream, and its length in bytes.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn finish(mut self) -> Result<(Digest, u64), UnpackError> {
        self.archive.finish()
    }
}
