// SPDX-License-Identifier: Apache-2.0
//! Uploads: blobs on their way, each with an id that its client knows. What came of one survives a restart.
//!
//! An upload is with one request at a time. Between requests it is kept open, so that its content need not be hashed
//! again; of many, only those used last.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use content::{ContentStore, PartialBlob};
use oci::{Algorithm, Digest, RepositoryName};

use super::directory::Directory;
use super::lru::Lru;
use super::{StorageError, held, partials};

/// Uploads kept open: a descriptor each.
const KEPT_OPEN: usize = 256;
/// Uploads there may be.
const MOST: usize = 10_000;
/// A repository's name.
const MAX_NAME_FILE: u64 = 256;

/// An upload's id: a random UUID (RFC 9562, version 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UploadId(u128);

/// All uploads. A clone is the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Uploads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    content: ContentStore,
    directory: Directory,
    scratch: Directory,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// With a request now.
    busy: HashSet<UploadId>,
    idle: Lru<UploadId, Arc<Mutex<Option<PartialBlob>>>>,
}

/// An upload that the current request has for itself; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Upload {
    uploads: Uploads,
    id: UploadId,
    repository: RepositoryName,
    blob: Option<PartialBlob>,
}

/// Why there is no upload to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// Another request has it.
    #[error("another request is writing to this upload")]
    Busy,
    /// There are as many as there may be.
    #[error("there are {MOST} uploads already")]
    TooMany,
    /// The storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Uploads {
    pub(super) fn new(content: ContentStore, directory: Directory, scratch: Directory) -> Uploads {
        let state = State { busy: HashSet::new(), idle: Lru::new(KEPT_OPEN) };
        Uploads(Arc::new(Inner { content, directory, scratch, state: Mutex::new(state) }))
    }

    /// Begins an upload to a repository, of a blob whose digest is most likely to be of `algorithm`.
    pub(crate) fn begin(&self, repository: &RepositoryName, algorithm: Algorithm) -> Result<Upload, UploadError> {
        if self.0.directory.names().map_err(UploadError::Storage)?.len() >= MOST {
            return Err(UploadError::TooMany);
        }
        let id = UploadId::random()?;
        let directory = self.0.directory.make(&id.to_string())?;
        directory.replace(&self.0.scratch, "repository", repository.as_str().as_bytes())?;
        let blob = partials(&self.0.content, &directory)?.create("data", algorithm).map_err(StorageError::from)?;
        held(&self.0.state).busy.insert(id);
        Ok(Upload { uploads: self.clone(), id, repository: repository.clone(), blob: Some(blob) })
    }

    /// The upload `id`, if there is one and it is to that repository.
    pub(crate) fn take(&self, id: UploadId, repository: &RepositoryName) -> Result<Option<Upload>, UploadError> {
        let kept = {
            let mut state = held(&self.0.state);
            if !state.busy.insert(id) {
                return Err(UploadError::Busy);
            }
            let kept = state.idle.get(&id);
            state.idle.remove(&id);
            kept
        };
        let mut upload = Upload { uploads: self.clone(), id, repository: repository.clone(), blob: None };
        upload.blob = kept.and_then(|kept| held(&kept).take());
        let Some(directory) = self.0.directory.below(&id.to_string())? else { return Ok(None) };
        if directory.read("repository", MAX_NAME_FILE)?.as_deref() != Some(repository.as_str().as_bytes()) {
            return Ok(None);
        }
        if upload.blob.is_none() {
            upload.blob = match directory.modified("data")? {
                Some(_) => Some(partials(&self.0.content, &directory)?.resume("data").map_err(StorageError::from)?),
                None => return Ok(None),
            };
        }
        Ok(Some(upload))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> Result<u64, StorageError> {
        Ok(self.0.directory.names()?.len() as u64)
    }

    /// Removes what nobody has written to for `age`. Gives the number.
    pub(crate) fn remove_abandoned(&self, age: Duration) -> Result<usize, StorageError> {
        let mut removed = 0;
        for name in self.0.directory.names()? {
            let Ok(id) = name.parse::<UploadId>() else { continue };
            let touched = match self.0.directory.modified(&format!("{name}/data"))? {
                Some(touched) => Some(touched),
                None => self.0.directory.modified(&name)?,
            };
            let is_old =
                touched.is_some_and(|touched| SystemTime::now().duration_since(touched).is_ok_and(|idle| idle >= age));
            if !is_old {
                continue;
            }
            {
                let mut state = held(&self.0.state);
                if !state.busy.insert(id) {
                    continue;
                }
                state.idle.remove(&id);
            }
            let result = self.0.directory.remove_directory(&name);
            held(&self.0.state).busy.remove(&id);
            result?;
            removed += 1;
        }
        Ok(removed)
    }
}

impl Upload {
    /// Its id.
    pub(crate) fn id(&self) -> UploadId {
        self.id
    }

    /// Where it goes.
    pub(crate) fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// Bytes that have come.
    pub(crate) fn written(&self) -> u64 {
        self.blob.as_ref().map_or(0, PartialBlob::written)
    }

    /// Adds bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        match &mut self.blob {
            Some(blob) => Ok(blob.append(bytes)?),
            None => Ok(()),
        }
    }

    /// Removes it.
    pub(crate) fn cancel(mut self) -> Result<(), StorageError> {
        self.blob = None;
        self.uploads.0.directory.remove_directory(&self.id.to_string())
    }

    /// Checks its content and makes it a blob; gives its size in bytes. Nothing of the upload is left, whatever comes.
    pub(super) fn commit(mut self, digest: Digest) -> Result<u64, StorageError> {
        let size = match self.blob.take() {
            Some(blob) => blob.commit(digest),
            None => Ok(0),
        };
        self.uploads.0.directory.remove_directory(&self.id.to_string())?;
        Ok(size?)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut state = held(&self.uploads.0.state);
        state.busy.remove(&self.id);
        if let Some(blob) = self.blob.take() {
            state.idle.insert(self.id, Arc::new(Mutex::new(Some(blob))), 1);
        }
    }
}

impl UploadId {
    fn random() -> Result<UploadId, StorageError> {
        let mut bytes = [0; 16];
        // The kernel gives up to 256 bytes whole (getrandom(2)).
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| StorageError::system("read", "/dev/random".into(), error))?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(UploadId(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl FromStr for UploadId {
    type Err = ();

    /// Only the form that [`fmt::Display`] gives.
    fn from_str(text: &str) -> Result<UploadId, ()> {
        let hex: String = text.split('-').collect();
        let id = u128::from_str_radix(&hex, 16).map(UploadId).map_err(drop)?;
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}
