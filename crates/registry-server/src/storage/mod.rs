// SPDX-License-Identifier: Apache-2.0
//! What the registry keeps, and where.
//!
//! ```text
//! lock                                        held by the one process that serves this root
//! content/                                    every blob and manifest once, by digest (crate `content`)
//! repositories/<name, with + for />/
//!   blobs/<hex>                               empty: the repository has this blob (the length tells the algorithm)
//!   manifests/<hex>                           media type and references of a manifest that the repository has
//!   tags/<tag>                                the digest of a manifest
//!   referrers/<subject's hex>/<hex>           the descriptor of a manifest with that subject
//! uploads/<uuid>/{repository,data}            blobs on their way
//! scratch/                                    files before they have their name; emptied at start
//! ```
//!
//! The order of writing keeps it consistent wherever a crash comes: content before what names it, a manifest before its
//! tags, tags gone before their manifest, a referrer's entry before its manifest (an entry without one is not shown).
//!
//! **Architecture Invariant:** blocking; knows no HTTP and no users. Names become paths in [`encode`] only.

mod collect;
mod directory;
mod error;
mod lru;
mod manifests;
mod pins;
mod referrers;
mod tags;
mod uploads;

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use content::{BlobWriter, ContentStore, PartialDirectory};
use oci::{Digest, RepositoryName, Tag};
use rustix::fs::{FlockOperation, Mode, OFlags};

pub use error::StorageError;
pub(crate) use manifests::{PutError, StoredManifest};
pub(crate) use tags::{Origin, TagTarget};
pub(crate) use uploads::{Upload, UploadError, UploadId, Uploads};

use directory::Directory;
pub(crate) use lru::Lru;
use pins::Pins;

/// Bytes of manifests that are kept in memory.
const MANIFEST_CACHE: usize = 64 << 20;
/// Tags whose digest is kept in memory.
const TAG_CACHE: usize = 1 << 16;
/// Locks that the repositories share.
const LOCKS: usize = 64;
/// A blob that somebody asks for before a push has its mark renewed when that is older: collection must not take it
/// before the manifest comes.
const RENEWED_AFTER: Duration = Duration::from_secs(600);

/// The open storage. All methods may be called from any thread.
#[derive(Debug)]
pub(crate) struct Storage {
    content: ContentStore,
    /// Another store on the same file system, whose blobs are linked instead of being stored twice.
    shared: Option<ContentStore>,
    repositories: Directory,
    scratch: Directory,
    /// Readers of the disk share them, writers have them alone; by the hash of the repository's name.
    locks: Vec<RwLock<()>>,
    hashing: RandomState,
    manifests: Mutex<Lru<(RepositoryName, Digest), std::sync::Arc<StoredManifest>>>,
    tags: Mutex<Lru<(RepositoryName, Tag), TagTarget>>,
    pins: Pins,
    /// Held as long as this value lives.
    _lock: File,
}

impl Storage {
    /// Opens the storage at `root` and makes it where it is missing; the directory above must exist. `share_with` is
    /// another content store that may have some of the blobs.
    ///
    /// # Errors
    /// [`StorageError::Taken`] when another process has it.
    pub(crate) fn open(root: &Path, share_with: Option<&Path>) -> Result<(Storage, Uploads), StorageError> {
        let directory = Directory::open_or_make(root)?;
        let lock = lock(&directory)?;
        let content = ContentStore::open(&root.join("content"))?;
        let shared = share_with.map(open_shared).transpose()?;
        let scratch = directory.make("scratch")?;
        for leftover in scratch.names()? {
            scratch.remove(&leftover)?;
        }
        let uploads = Uploads::new(content.clone(), directory.make("uploads")?.transient(), directory.make("scratch")?);
        let storage = Storage {
            content,
            shared,
            repositories: directory.make("repositories")?,
            scratch,
            locks: std::iter::repeat_with(RwLock::default).take(LOCKS).collect(),
            hashing: RandomState::new(),
            manifests: Mutex::new(Lru::new(MANIFEST_CACHE)),
            tags: Mutex::new(Lru::new(TAG_CACHE)),
            pins: Pins::default(),
            _lock: lock,
        };
        Ok((storage, uploads))
    }

    /// How much there is: blobs and manifests with their bytes together, and repositories.
    pub(crate) fn totals(&self) -> Result<(u64, u64, u64), StorageError> {
        let blobs = self.content.blobs()?;
        let bytes = blobs.iter().map(|(_, size)| size).sum();
        Ok((blobs.len() as u64, bytes, self.repositories()?.len() as u64))
    }

    /// All repositories, by name.
    pub(crate) fn repositories(&self) -> Result<Vec<RepositoryName>, StorageError> {
        let mut all: Vec<RepositoryName> = self.repositories.names()?.iter().filter_map(|name| decode(name)).collect();
        all.sort();
        Ok(all)
    }

    /// The size in bytes of a blob that the repository has.
    pub(crate) fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, StorageError> {
        let Some(marked) = self.repositories.modified(&blob_path(name, digest))? else { return Ok(None) };
        if SystemTime::now().duration_since(marked).is_ok_and(|age| age > RENEWED_AFTER) {
            let _writing = self.lock_of(name).write().unwrap_or_else(PoisonError::into_inner);
            // It may be gone by now; then there is nothing to renew.
            if self.repositories.modified(&blob_path(name, digest))?.is_some()
                && let Some(blobs) = self.repositories.below(&format!("{}/blobs", encode(name)))?
            {
                blobs.mark(&digest.hex())?;
            }
        }
        self.content_size(digest)
    }

    /// A blob that the repository has, open, with its size in bytes.
    pub(crate) fn open_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(File, u64)>, StorageError> {
        if self.repositories.modified(&blob_path(name, digest))?.is_none() {
            return Ok(None);
        }
        match self.content.open_blob(digest) {
            Ok(file) => {
                let size = file.metadata().map_err(|source| StorageError::System {
                    operation: "stat",
                    path: PathBuf::from(digest.hex()),
                    source,
                })?;
                Ok(Some((file, size.len())))
            }
            Err(content::ContentError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The repositories that have a blob.
    pub(crate) fn repositories_with(&self, digest: &Digest) -> Result<Vec<RepositoryName>, StorageError> {
        let mut found = Vec::new();
        if self.content.contains(digest) {
            for name in self.repositories()? {
                if self.repositories.modified(&blob_path(&name, digest))?.is_some() {
                    found.push(name);
                }
            }
        }
        Ok(found)
    }

    /// Lets the repository have a blob that `from` has. Says whether it has it now.
    pub(crate) fn mount(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<bool, StorageError> {
        if self.repositories.modified(&blob_path(from, digest))?.is_none() {
            return Ok(false);
        }
        let _pin = self.pins.pin(*digest);
        if !self.content.contains(digest) {
            return Ok(false);
        }
        self.mark_blob(name, digest)?;
        Ok(true)
    }

    /// Checks an upload's content, and lets the repository have it. Gives its size in bytes.
    pub(crate) fn finish_upload(&self, upload: Upload, digest: Digest) -> Result<u64, StorageError> {
        let name = upload.repository().clone();
        // From here on until the mark is there, collection leaves the blob alone.
        let _pin = self.pins.pin(digest);
        self.link_shared(&digest)?;
        let size = upload.commit(digest)?;
        self.mark_blob(&name, &digest)?;
        Ok(size)
    }

    /// A blob to be written that is not pushed: a copy of another registry's, of `size` bytes.
    pub(crate) fn writer(&self, digest: Digest, size: u64) -> Result<BlobWriter, StorageError> {
        Ok(self.content.writer(Some(digest), Some(size))?)
    }

    /// Checks what was written, and lets the repository have it.
    pub(crate) fn keep_blob(
        &self,
        name: &RepositoryName,
        digest: Digest,
        writer: BlobWriter,
    ) -> Result<(), StorageError> {
        let _pin = self.pins.pin(digest);
        self.link_shared(&digest)?;
        writer.commit()?;
        self.mark_blob(name, &digest)
    }

    /// Takes a blob away from the repository. Says whether it had it.
    pub(crate) fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        let _writing = self.lock_of(name).write().unwrap_or_else(PoisonError::into_inner);
        match self.repositories.below(&format!("{}/blobs", encode(name)))? {
            Some(blobs) => blobs.remove(&digest.hex()),
            None => Ok(false),
        }
    }

    fn mark_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<(), StorageError> {
        let _writing = self.lock_of(name).write().unwrap_or_else(PoisonError::into_inner);
        self.repositories.make(&encode(name))?.make("blobs")?.mark(&digest.hex())
    }

    fn content_size(&self, digest: &Digest) -> Result<Option<u64>, StorageError> {
        match self.content.size(digest) {
            Ok(size) => Ok(Some(size)),
            Err(content::ContentError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where another store on this file system has the blob, its bytes are not stored again.
    fn link_shared(&self, digest: &Digest) -> Result<(), StorageError> {
        if let Some(shared) = &self.shared {
            self.content.link_from(shared, digest)?;
        }
        Ok(())
    }

    fn lock_of(&self, name: &RepositoryName) -> &RwLock<()> {
        let hash = self.hashing.hash_one(name);
        // The remainder is below the number of locks, which fits.
        &self.locks[(hash % LOCKS as u64) as usize]
    }
}

/// The directory of a repository. `+` is in no name, and no component begins with a dot: different names are different
/// directories, and none is a special one. At most 255 bytes, as the file system allows.
fn encode(name: &RepositoryName) -> String {
    name.as_str().replace('/', "+")
}

/// The repository whose directory this is. What else lies there is nobody's.
fn decode(directory: &str) -> Option<RepositoryName> {
    if directory.contains('/') {
        return None;
    }
    directory.replace('+', "/").parse().ok()
}

fn blob_path(name: &RepositoryName, digest: &Digest) -> String {
    format!("{}/blobs/{}", encode(name), digest.hex())
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole at every moment: nothing between its changes can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opening makes a store where there is none: the one to share with must be there, or it is not the one that is meant.
fn open_shared(path: &Path) -> Result<ContentStore, StorageError> {
    if !path.join("oci-layout").is_file() {
        return Err(StorageError::NoStore { path: path.to_owned() });
    }
    Ok(ContentStore::open(path)?)
}

fn lock(root: &Directory) -> Result<File, StorageError> {
    let path = root.path().join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(root.descriptor()?, "lock", flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| StorageError::system("open", path.clone(), error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(File::from(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StorageError::Taken { path: root.path().to_owned() }),
        Err(error) => Err(StorageError::system("lock", path, error)),
    }
}

/// Where uploads of this content store lie.
fn partials(content: &ContentStore, directory: &Directory) -> Result<PartialDirectory, StorageError> {
    Ok(PartialDirectory::new(content, directory.descriptor()?, directory.path()))
}

#[cfg(test)]
mod tests;
