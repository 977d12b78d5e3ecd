// SPDX-License-Identifier: Apache-2.0
//! A blob that arrives in parts, with pauses that may outlast this process: it lies under a name of its owner's choice in
//! a directory of its owner's until it is whole.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Algorithm, Digest, Hasher};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::error::At as _;
use crate::writer::HashState;
use crate::{ContentError, ContentStore};

/// Bytes read at once when a blob is hashed again.
const BUFFER: usize = 256 << 10;

/// Where partial blobs lie: a directory on the store's file system, which one process at a time writes to.
#[derive(Debug, Clone)]
pub struct PartialDirectory {
    store: ContentStore,
    directory: Arc<OwnedFd>,
    path: Arc<Path>,
}

/// A blob of which a part is here. Dropped, it stays as it is; only [`PartialBlob::commit`] and
/// [`PartialBlob::discard`] take the file away.
#[derive(Debug)]
#[must_use = "a blob that is not committed does not exist"]
pub struct PartialBlob {
    owner: PartialDirectory,
    name: String,
    file: File,
    hasher: HashState,
    written: u64,
}

impl PartialDirectory {
    /// The open `directory`, which is at `path`, for blobs that will be `store`'s.
    pub fn new(store: &ContentStore, directory: OwnedFd, path: &Path) -> PartialDirectory {
        PartialDirectory { store: store.clone(), directory: directory.into(), path: path.into() }
    }

    /// A new blob, empty. `name` is one path component; `algorithm` is the one that its digest is most likely to have: with
    /// another the blob is read once more in the end.
    ///
    /// # Errors
    /// [`ContentError::System`], also when there is one of that name.
    pub fn create(&self, name: &str, algorithm: Algorithm) -> Result<PartialBlob, ContentError> {
        let file = self.open(name, OFlags::CREATE | OFlags::EXCL)?;
        let hasher = HashState(Hasher::with(algorithm));
        Ok(PartialBlob { owner: self.clone(), name: name.to_owned(), file, hasher, written: 0 })
    }

    /// The blob that an earlier process left; what is there of it is read and hashed again.
    ///
    /// # Errors
    /// [`ContentError::System`], also when there is none of that name.
    pub fn resume(&self, name: &str) -> Result<PartialBlob, ContentError> {
        let mut file = self.open(name, OFlags::empty())?;
        let (hasher, written) = hash(&mut file, Algorithm::default()).at("read", || self.path.join(name))?;
        Ok(PartialBlob { owner: self.clone(), name: name.to_owned(), file, hasher: HashState(hasher), written })
    }

    fn open(&self, name: &str, more: OFlags) -> Result<File, ContentError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
        rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .at("open", || self.path.join(name))
    }
}

/// What `file` holds from its position on, hashed, and its length in bytes.
fn hash(file: &mut File, algorithm: Algorithm) -> std::io::Result<(Hasher, u64)> {
    let (mut hasher, mut length) = (Hasher::with(algorithm), 0);
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hasher, length));
        }
        hasher.update(&buffer[..count]);
        length += count as u64;
    }
}

impl PartialBlob {
    /// Bytes that are here.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds `bytes`, all of them or none.
    ///
    /// # Errors
    /// [`ContentError::System`] when the disk is full: the blob is as long as before.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        if let Err(error) = self.file.write_all(bytes) {
            // What came of it must not be taken for content; that it cannot be cut off shows when the blob is committed.
            let _: std::io::Result<()> = self.cut();
            return Err(error).at("write", || self.path());
        }
        self.hasher.0.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Checks the digest, puts the content on disk and makes it visible in the store. Gives its size in bytes.
    ///
    /// # Errors
    /// [`ContentError::Digest`] when the content is another: nothing is left then.
    pub fn commit(mut self, expected: Digest) -> Result<u64, ContentError> {
        let found = self.digest(expected.algorithm())?;
        if let Err(mismatch) = expected.matches(found) {
            self.discard()?;
            return Err(ContentError::Digest(mismatch));
        }
        let length = self.file.metadata().at("stat", || self.path())?.len();
        if length != self.written {
            let expected = self.written;
            self.discard()?;
            return Err(ContentError::Size { expected, found: length });
        }
        let store = self.owner.store.clone();
        if store.contains(&expected) {
            // Whoever was first made the same bytes durable.
            let written = self.written;
            self.discard()?;
            return Ok(written);
        }
        store.publish(&self.file, self.owner.directory.as_fd(), &self.name, &self.path(), &expected)?;
        Ok(self.written)
    }

    fn digest(&mut self, algorithm: Algorithm) -> Result<Digest, ContentError> {
        let hasher = std::mem::take(&mut self.hasher.0);
        if hasher.algorithm() == algorithm {
            return Ok(hasher.finish());
        }
        self.file.seek(SeekFrom::Start(0)).at("seek", || self.path())?;
        let (hasher, _) = hash(&mut self.file, algorithm).at("read", || self.path())?;
        Ok(hasher.finish())
    }

    /// Removes what is there.
    pub fn discard(self) -> Result<(), ContentError> {
        match rustix::fs::unlinkat(&self.owner.directory, &self.name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error).at("remove", || self.path()),
        }
    }

    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.written)?;
        self.file.seek(SeekFrom::Start(self.written)).map(drop)
    }

    fn path(&self) -> PathBuf {
        self.owner.path.join(&self.name)
    }
}
