// SPDX-License-Identifier: Apache-2.0
//! What can go wrong in the registry's storage.

use std::io;
use std::path::PathBuf;

use content::ContentError;
use errors::{Classify, Kind, kind_of_io};
use rustix::io::Errno;

/// A failed operation of the registry's storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The system refused.
    #[error("cannot {operation} {path:?}")]
    System {
        /// What was tried: a verb.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The blobs' store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Another process has the storage.
    #[error("{path:?} is used by another registry")]
    Taken {
        /// The root.
        path: PathBuf,
    },
    /// There is nothing to share with.
    #[error("there is no content store at {path:?}")]
    NoStore {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file that was not written by this program, or was damaged since.
    #[error("{path:?} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl StorageError {
    pub(crate) fn system(operation: &'static str, path: PathBuf, error: Errno) -> StorageError {
        StorageError::System { operation, path, source: error.into() }
    }
}

impl Classify for StorageError {
    fn kind(&self) -> Kind {
        match self {
            StorageError::System { source, .. } => kind_of_io(source),
            StorageError::Content(error) => error.kind(),
            StorageError::Taken { .. } => Kind::Conflict,
            StorageError::NoStore { .. } => Kind::NotFound,
            StorageError::Damaged { .. } => Kind::Corrupt,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            StorageError::System { source, .. } if kind_of_io(source) == Kind::NoSpace => {
                Some("free some space on that file system".to_owned())
            }
            StorageError::Content(error) => error.hint(),
            StorageError::Taken { .. } => Some("stop that registry, or choose another --root".to_owned()),
            StorageError::NoStore { .. } => Some("name the directory `content` in a daemon's data root".to_owned()),
            _ => None,
        }
    }
}
