// SPDX-License-Identifier: Apache-2.0
//! Blobs that were interrupted: kept under `ingest/partial-<hex>`, so that a later writer of the same blob goes on where
//! they stopped, also after the process was killed.
//!
//! What is there is hashed anew before anything is added, so a partial blob is trusted no more than any other bytes. A
//! file system that loses the end of a file with the power makes it wrong; then the digest says so, and it is removed.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oci::{Digest, Hasher};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};

use crate::error::{At as _, system};
use crate::{BlobWriter, ContentError, ContentStore};

/// How the names begin.
pub(crate) const PREFIX: &str = "partial-";
/// Less than this is not worth keeping, in bytes.
pub(crate) const WORTH_KEEPING: u64 = 1 << 20;
/// How long a partial blob is kept after it was written to.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// How much of them is kept in all, in bytes. The oldest go first.
const MAX_KEPT: u64 = 8 << 30;

/// A partial blob whose writer was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupted {
    name: String,
    /// Bytes that it takes on disk.
    pub bytes: u64,
    /// When it was written to last, in seconds since the epoch.
    pub written_at: i64,
}

impl ContentStore {
    /// A writer of the blob `expected`, which has `size` bytes, that goes on where an interrupted one stopped:
    /// [`BlobWriter::written`] says where, and [`BlobWriter::reader`] gives what is there. Dropped without a commit it
    /// leaves what it has for the next one, from 1 MiB on and for a day. While another writer has the blob, this begins
    /// at its start.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn resume(&self, expected: Digest, size: u64) -> Result<BlobWriter, ContentError> {
        self.remove_old_partials()?;
        let name = format!("{PREFIX}{}", expected.hex());
        let path = || self.path.join("ingest").join(&name);
        let mut file = loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(&self.ingest, &name, flags, Mode::RUSR | Mode::WUSR).at("open", path)?;
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return self.writer(Some(expected), Some(size));
            }
            // Between the two steps it may have been committed: then it is a blob, and no longer ours to write to.
            let opened = rustix::fs::fstat(&file).at("stat", path)?;
            match rustix::fs::statat(&self.ingest, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if named.st_ino == opened.st_ino => break File::from(file),
                Ok(_) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(system("stat", path(), error.into())),
            }
        };
        let (mut hasher, mut written) = (Hasher::with(expected.algorithm()), 0);
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer).at("read", path)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            written += count as u64;
            if written > size {
                file.set_len(0).at("truncate", path)?;
                file.seek(SeekFrom::Start(0)).at("seek", path)?;
                (hasher, written) = (Hasher::with(expected.algorithm()), 0);
                break;
            }
        }
        Ok(BlobWriter::resumed(self, file, name, hasher, written, expected, size))
    }

    /// The partial blobs that are worth keeping and that no writer has now. Smaller ones have just been begun, or go with
    /// their age.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn interrupted(&self) -> Result<Vec<Interrupted>, ContentError> {
        let path = || self.path.join("ingest");
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.ingest).at("list", path)? {
            let entry = entry.at("list", path)?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| name.starts_with(PREFIX)) else { continue };
            // Gone since the directory was read.
            let Ok(stat) = rustix::fs::statat(&self.ingest, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let is_large = u64::try_from(stat.st_size).is_ok_and(|size| size >= WORTH_KEEPING);
            if !is_large || self.lock_interrupted(entry.file_name()).is_none() {
                continue;
            }
            // stat(2): the unit is 512 bytes whatever the file system's is.
            let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
            found.push(Interrupted { name: name.to_owned(), bytes, written_at: stat.st_mtime });
        }
        Ok(found)
    }

    /// Removes a partial blob, unless a writer has it now. Says whether it did.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove_interrupted(&self, blob: &Interrupted) -> Result<bool, ContentError> {
        let Ok(name) = std::ffi::CString::new(blob.name.as_str()) else { return Ok(false) };
        match self.lock_interrupted(&name) {
            Some(_locked) => self.unlink_interrupted(&name).map(|()| true),
            None => Ok(false),
        }
    }

    /// The file, which no writer can have while it is open; `None` if one has it already, or there is none.
    fn lock_interrupted(&self, name: &CStr) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.ingest, name, flags, Mode::empty()).ok()?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| file)
    }

    fn unlink_interrupted(&self, name: &CStr) -> Result<(), ContentError> {
        match rustix::fs::unlinkat(&self.ingest, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(system("remove", self.path.join("ingest"), error.into())),
        }
    }

    /// Removes the partial blobs that are too old, or too many. Those that are being written stay.
    pub(crate) fn remove_old_partials(&self) -> Result<(), ContentError> {
        let path = || self.path.join("ingest");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.ingest).at("list", path)? {
            let entry = entry.at("list", path)?;
            let name = entry.file_name().to_owned();
            if !name.to_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            // Gone since the directory was read.
            let Ok(stat) = rustix::fs::statat(&self.ingest, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let written_at = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
            found.push((now.saturating_sub(written_at), u64::try_from(stat.st_size).unwrap_or(0), name));
        }
        // The youngest first.
        found.sort_by_key(|(age, ..)| *age);
        let mut kept = 0;
        for (age, size, name) in found {
            kept += size;
            if age <= MAX_AGE && kept <= MAX_KEPT {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let Ok(file) = rustix::fs::openat(&self.ingest, &name, flags, Mode::empty()) else { continue };
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                match rustix::fs::unlinkat(&self.ingest, &name, AtFlags::empty()) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(system("remove", path(), error.into())),
                }
            }
        }
        Ok(())
    }
}
