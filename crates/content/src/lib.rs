// SPDX-License-Identifier: Apache-2.0
//! The content store: a valid OCI image layout (image-spec, `image-layout.md`) whose blobs are visible only when their
//! digest and size matched.
//!
//! ```text
//! oci-layout               written once
//! index.json               replaced by atomic rename
//! blobs/<algorithm>/<hex>  immutable, durable before they get this name
//! ingest/<pid>-<n>         blobs being written; locked by their writer, removed when it is gone
//! ingest/partial-<hex>     blobs whose writers may be interrupted; kept for a day
//! ```
//!
//! **Architecture Invariant:** knows bytes and digests only: no names, no manifests, no network. Nothing is resolved by
//! joining a path with a name from outside: digests are hexadecimal, and every file is opened below a descriptor.

mod error;
mod index;
mod partial;
mod resume;
mod writer;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Algorithm, Digest};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};

pub use error::ContentError;
pub use index::IndexEntry;
pub use partial::{PartialBlob, PartialDirectory};
pub use resume::Interrupted;
pub use writer::BlobWriter;

use error::{At as _, system};

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// The open store. All methods may be called from any thread, several processes may use one store. A clone is the same
/// store.
#[derive(Debug, Clone)]
pub struct ContentStore {
    path: Arc<Path>,
    root: Arc<OwnedFd>,
    blobs: Arc<Blobs>,
    ingest: Arc<OwnedFd>,
}

/// Where the blobs are, by the algorithm of their digest.
#[derive(Debug)]
struct Blobs {
    sha256: OwnedFd,
    sha512: OwnedFd,
}

impl Blobs {
    fn of(&self, algorithm: Algorithm) -> &OwnedFd {
        match algorithm {
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Sha512 => &self.sha512,
        }
    }
}

impl ContentStore {
    /// Opens the store at `root`, makes it (mode 0700) where it is missing, and removes what interrupted writers left, save what
    /// [`ContentStore::resume`] goes on with.
    /// The directory above `root` must exist.
    ///
    /// # Errors
    /// [`ContentError::Layout`] when `root` holds an image layout of another version.
    pub fn open(root: &Path) -> Result<ContentStore, ContentError> {
        let path = root.to_owned();
        let root = directory(rustix::fs::CWD, root, &path)?;
        let blobs = directory(&root, Path::new("blobs"), &path.join("blobs"))?;
        let blobs_of = |algorithm: Algorithm| {
            let name = algorithm.as_str();
            directory(&blobs, Path::new(name), &path.join("blobs").join(name))
        };
        let blobs = Blobs { sha256: blobs_of(Algorithm::Sha256)?, sha512: blobs_of(Algorithm::Sha512)? };
        let ingest = directory(&root, Path::new("ingest"), &path.join("ingest"))?;
        let store = ContentStore { path: path.into(), root: root.into(), blobs: blobs.into(), ingest: ingest.into() };
        store.remove_leftovers()?;
        store.remove_old_partials()?;
        store.ensure_layout()?;
        Ok(store)
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the blob is here, whole.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.size(digest).is_ok()
    }

    /// The blob's size in bytes.
    ///
    /// # Errors
    /// [`ContentError::NotFound`] when it is not here.
    pub fn size(&self, digest: &Digest) -> Result<u64, ContentError> {
        let stat = rustix::fs::statat(self.blobs.of(digest.algorithm()), digest.hex(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.blob_error("stat", digest, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ContentError::NotFound { digest: *digest });
        }
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Bytes that the blob takes on disk.
    ///
    /// # Errors
    /// [`ContentError::NotFound`] when it is not here.
    pub fn disk_usage(&self, digest: &Digest) -> Result<u64, ContentError> {
        let stat = rustix::fs::statat(self.blobs.of(digest.algorithm()), digest.hex(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.blob_error("stat", digest, error))?;
        // stat(2): the unit is 512 bytes whatever the file system's is.
        Ok(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512))
    }

    /// The blob, open for reading. Its digest matched when it was written; a reader for whom damage of the disk since
    /// then matters hashes it again.
    ///
    /// # Errors
    /// [`ContentError::NotFound`] when it is not here.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, ContentError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(self.blobs.of(digest.algorithm()), digest.hex(), flags, Mode::empty())
            .map(File::from)
            .map_err(|error| self.blob_error("open", digest, error))
    }

    /// The whole blob, hashed once more. For manifests and configurations.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`] above `max` bytes; [`ContentError::Digest`] when the file has changed on disk;
    /// [`ContentError::NotFound`] when it is not here.
    pub fn read_blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, ContentError> {
        let file = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        // One byte more than allowed tells a blob of exactly `max` bytes from a longer one.
        file.take(max.saturating_add(1)).read_to_end(&mut bytes).at("read", || self.blob_path(digest))?;
        if bytes.len() as u64 > max {
            return Err(ContentError::TooLarge { digest: *digest, max });
        }
        digest.matches(digest.algorithm().digest(&bytes)).map_err(ContentError::Digest)?;
        Ok(bytes)
    }

    /// A new blob. Where `expected` or `size` (bytes) are given, content that differs from them never becomes visible.
    pub fn writer(&self, expected: Option<Digest>, size: Option<u64>) -> Result<BlobWriter, ContentError> {
        BlobWriter::new(self, expected, size)
    }

    /// Writes `bytes` as a blob named by its SHA-256, unless it is here already.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ContentError> {
        let digest = Digest::of(bytes);
        self.put_as(&digest, bytes)?;
        Ok(digest)
    }

    /// Writes `bytes` as the blob `digest`, unless it is here already.
    ///
    /// # Errors
    /// [`ContentError::Digest`] when they have another digest.
    pub fn put_as(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ContentError> {
        if !self.contains(digest) {
            let mut writer = self.writer(Some(*digest), Some(bytes.len() as u64))?;
            writer.append(bytes)?;
            writer.commit()?;
        }
        Ok(())
    }

    /// Takes a blob of another store in as a second name of the same file, so that its bytes lie on the disk once. Says
    /// whether the blob is here now: the other store may not have it, or be on another file system.
    ///
    /// # Errors
    /// [`ContentError::System`] when the system refuses for another reason.
    pub fn link_from(&self, other: &ContentStore, digest: &Digest) -> Result<bool, ContentError> {
        use rustix::io::Errno;
        let (name, algorithm) = (digest.hex(), digest.algorithm());
        let (from, to) = (other.blobs.of(algorithm), self.blobs.of(algorithm));
        match rustix::fs::linkat(from, &name, to, &name, AtFlags::empty()) {
            Ok(()) => self.sync_names(algorithm).map(|()| true),
            Err(Errno::EXIST) => Ok(true),
            // Another file system, one without hard links, or a file that has all the names it can have.
            Err(Errno::NOENT | Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => Ok(false),
            Err(error) => Err(system("link", self.blob_path(digest), error.into())),
        }
    }

    /// Removes a blob. Says whether it was here.
    pub fn remove(&self, digest: &Digest) -> Result<bool, ContentError> {
        match rustix::fs::unlinkat(self.blobs.of(digest.algorithm()), digest.hex(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(system("remove", self.blob_path(digest), error.into())),
        }
    }

    /// All blobs with their sizes in bytes, in the order of their digests.
    pub fn blobs(&self) -> Result<Vec<(Digest, u64)>, ContentError> {
        let mut all = Vec::new();
        for algorithm in Algorithm::ALL {
            let path = || self.blobs_path(algorithm);
            for entry in Dir::read_from(self.blobs.of(algorithm)).at("list", path)? {
                let entry = entry.at("list", path)?;
                let Ok(name) = entry.file_name().to_str() else { continue };
                // Whatever else somebody put there is not ours to judge.
                let Ok(digest) = Digest::from_hex(name) else { continue };
                if digest.algorithm() != algorithm {
                    continue;
                }
                match self.size(&digest) {
                    Ok(size) => all.push((digest, size)),
                    // Removed since the directory was read.
                    Err(ContentError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Removes what writers left that were killed. A file that is still being written is locked, and stays.
    fn remove_leftovers(&self) -> Result<(), ContentError> {
        let path = || self.path.join("ingest");
        for entry in Dir::read_from(&self.ingest).at("list", path)? {
            let entry = entry.at("list", path)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || name.to_bytes().starts_with(resume::PREFIX.as_bytes()) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = match rustix::fs::openat(&self.ingest, name, flags, Mode::empty()) {
                Ok(file) => file,
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(system("open", path(), error.into())),
            };
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                match rustix::fs::unlinkat(&self.ingest, name, AtFlags::empty()) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(system("remove", path(), error.into())),
                }
            }
        }
        Ok(())
    }

    fn blobs_path(&self, algorithm: Algorithm) -> PathBuf {
        self.path.join("blobs").join(algorithm.as_str())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.blob_name())
    }

    fn blob_error(&self, call: &'static str, digest: &Digest, error: rustix::io::Errno) -> ContentError {
        match error {
            rustix::io::Errno::NOENT => ContentError::NotFound { digest: *digest },
            error => system(call, self.blob_path(digest), error.into()),
        }
    }
}

/// Opens the directory `name` below `parent`, and makes it where it is missing. `path` is for the error's text.
fn directory(parent: impl AsFd, name: &Path, path: &Path) -> Result<OwnedFd, ContentError> {
    match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) => rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())
            // The name must be durable before anything below it is called so.
            .and_then(|made| rustix::fs::openat(&made, "..", DIRECTORY, Mode::empty()))
            .and_then(rustix::fs::fsync)
            .at("make", || path.to_owned())?,
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(system("make", path.to_owned(), error.into())),
    }
    rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty()).at("open", || path.to_owned())
}

#[cfg(test)]
mod tests;
