// SPDX-License-Identifier: Apache-2.0
//! Writing a blob: into a locked temporary file, hashed on the way, checked, synced, and only then renamed into place.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use oci::{Algorithm, Digest, Hasher};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use crate::error::{At as _, system};
use crate::resume::WORTH_KEEPING;
use crate::{ContentError, ContentStore};

/// Distinguishes the writers of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A blob in the making. Dropped without [`BlobWriter::commit`], it leaves nothing, unless it is one that
/// [`ContentStore::resume`] gave.
#[derive(Debug)]
#[must_use = "a blob that is not committed does not exist"]
pub struct BlobWriter {
    store: ContentStore,
    file: File,
    name: String,
    hasher: HashState,
    written: u64,
    expected: Option<Digest>,
    size: Option<u64>,
    /// Whether another writer may go on with what is written.
    resumable: bool,
}

/// The hasher has no `Debug`.
pub(crate) struct HashState(pub(crate) Hasher);

impl std::fmt::Debug for HashState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl BlobWriter {
    pub(crate) fn new(
        store: &ContentStore,
        expected: Option<Digest>,
        size: Option<u64>,
    ) -> Result<BlobWriter, ContentError> {
        let (file, name) = store.temporary()?;
        Ok(BlobWriter {
            store: store.clone(),
            file,
            name,
            hasher: HashState(Hasher::with(expected.map(|digest| digest.algorithm()).unwrap_or_default())),
            written: 0,
            expected,
            size,
            resumable: false,
        })
    }

    /// Goes on with the locked `file`, whose position is at its end.
    pub(crate) fn resumed(
        store: &ContentStore,
        file: File,
        name: String,
        hasher: Hasher,
        written: u64,
        expected: Digest,
        size: u64,
    ) -> BlobWriter {
        let (store, hasher) = (store.clone(), HashState(hasher));
        BlobWriter { store, file, name, hasher, written, expected: Some(expected), size: Some(size), resumable: true }
    }

    /// What is written so far, from its start.
    ///
    /// # Errors
    /// The file cannot be opened once more.
    pub fn reader(&self) -> Result<io::Take<File>, ContentError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file =
            rustix::fs::openat(&self.store.ingest, &self.name, flags, Mode::empty()).at("open", || self.path())?;
        Ok(io::Read::take(File::from(file), self.written))
    }

    /// Leaves nothing when it is dropped: what is written is of no use, or takes room that is needed.
    pub fn forget(&mut self) {
        self.resumable = false;
    }

    /// Adds `bytes`. [`Write::write`] does the same, with this error inside the [`io::Error`].
    ///
    /// # Errors
    /// [`ContentError::Size`] as soon as there are more bytes than announced; [`ContentError::System`] when the disk
    /// is full. Nothing is added then: when there is room, the same can be tried again.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        let total = self.written.saturating_add(bytes.len() as u64);
        if let Some(expected) = self.size
            && total > expected
        {
            self.forget();
            return Err(ContentError::Size { expected, found: total });
        }
        // At a place of its own, and not behind what an attempt before it may have left.
        if let Err(error) = self.file.write_all_at(bytes, self.written) {
            self.file.set_len(self.written).at("truncate", || self.path())?;
            return Err(system("write", self.path(), error));
        }
        self.hasher.0.update(bytes);
        self.written = total;
        Ok(())
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The digest of what is written so far: the blob's, if nothing follows. So it can be referred to before it is seen.
    pub fn digest(&self) -> Digest {
        self.hasher.0.clone().finish()
    }

    /// Checks size and digest, puts the content on disk, and makes it visible. Returns its digest and size in bytes.
    ///
    /// # Errors
    /// [`ContentError::Size`] or [`ContentError::Digest`] when it is not what was announced: nothing is left then.
    pub fn commit(mut self) -> Result<(Digest, u64), ContentError> {
        if let Some(expected) = self.size
            && self.written != expected
        {
            return Err(ContentError::Size { expected, found: self.written });
        }
        let found = std::mem::replace(&mut self.hasher.0, Hasher::new()).finish();
        if let Some(expected) = self.expected
            && let Err(mismatch) = expected.matches(found)
        {
            self.forget();
            return Err(ContentError::Digest(mismatch));
        }
        // Whoever was first made the same bytes durable; dropping ours removes it.
        if !self.store.contains(&found) {
            self.publish(&found)?;
        }
        self.forget();
        Ok((found, self.written))
    }

    fn publish(&mut self, digest: &Digest) -> Result<(), ContentError> {
        let path = self.path();
        self.store.publish(&self.file, self.store.ingest.as_fd(), &self.name, &path, digest)?;
        // The temporary name is gone; there is nothing for `drop` to remove.
        self.name.clear();
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.store.path.join("ingest").join(&self.name)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.append(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                let kind = match &error {
                    ContentError::System { source, .. } => source.kind(),
                    _ => io::ErrorKind::InvalidData,
                };
                Err(io::Error::new(kind, error))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    /// A temporary file that cannot be removed now is removed when the store is opened next.
    fn drop(&mut self) {
        let is_kept = self.resumable && self.written >= WORTH_KEEPING;
        if !self.name.is_empty() && !is_kept {
            let _: rustix::io::Result<()> = rustix::fs::unlinkat(&self.store.ingest, &self.name, AtFlags::empty());
        }
    }
}

impl ContentStore {
    /// Puts `file`, which is `name` below `directory` and was found to have this digest, on disk and among the blobs.
    pub(crate) fn publish(
        &self,
        file: &File,
        directory: BorrowedFd<'_>,
        name: &str,
        path: &Path,
        digest: &Digest,
    ) -> Result<(), ContentError> {
        rustix::fs::fchmod(file, Mode::RUSR | Mode::RGRP | Mode::ROTH).at("protect", || path.to_owned())?;
        file.sync_all().at("sync", || path.to_owned())?;
        let algorithm = digest.algorithm();
        rustix::fs::renameat(directory, name, self.blobs.of(algorithm), digest.hex())
            .at("name", || self.blob_path(digest))?;
        self.sync_names(algorithm)
    }

    /// Makes the names of the blobs durable.
    pub(crate) fn sync_names(&self, algorithm: Algorithm) -> Result<(), ContentError> {
        rustix::fs::fsync(self.blobs.of(algorithm)).at("sync", || self.blobs_path(algorithm))
    }

    /// A new, locked file under `ingest/`.
    pub(crate) fn temporary(&self) -> Result<(File, String), ContentError> {
        loop {
            let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let path = || self.path.join("ingest").join(&name);
            match rustix::fs::openat(&self.ingest, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    rustix::fs::flock(&file, FlockOperation::LockExclusive).at("lock", path)?;
                    return Ok((File::from(file), name));
                }
                // Left by a process that had our id and was killed, after the store was opened.
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(system("make", path(), error.into())),
            }
        }
    }
}
