// SPDX-License-Identifier: Apache-2.0
//! What can go wrong in the content store.

use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind, kind_of_io};
use oci::{Digest, Mismatch};

/// A failed operation of the content store.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
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
    /// A blob that is not in the store.
    #[error("no blob {digest}")]
    NotFound {
        /// The one asked for.
        digest: Digest,
    },
    /// Content that is not what it was announced as.
    #[error("content has the digest {}, expected {}", .0.found, .0.expected)]
    Digest(Box<Mismatch>),
    /// Content of another length than announced.
    #[error("content has {} {found} bytes, expected {expected}", if *.found > *.expected { "at least" } else { "only" })]
    Size {
        /// The bytes announced.
        expected: u64,
        /// The bytes that came; more are not read.
        found: u64,
    },
    /// A blob too large to be read into memory.
    #[error("blob {digest} is larger than {max} bytes")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// The caller's limit in bytes.
        max: u64,
    },
    /// An `oci-layout` file of another version, or none at all.
    #[error("{path:?} does not declare the OCI image layout 1.0.0")]
    Layout {
        /// The file.
        path: PathBuf,
    },
}

impl Classify for ContentError {
    fn kind(&self) -> Kind {
        match self {
            ContentError::System { source, .. } => kind_of_io(source),
            ContentError::NotFound { .. } => Kind::NotFound,
            ContentError::Digest(_) | ContentError::Size { .. } => Kind::Corrupt,
            ContentError::TooLarge { .. } => Kind::Corrupt,
            ContentError::Layout { .. } => Kind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ContentError::System { source, .. } if kind_of_io(source) == Kind::NoSpace => {
                Some("free some space on that file system, or remove images that are not needed".to_owned())
            }
            ContentError::Layout { .. } => Some("move it away, or choose another --data-root".to_owned()),
            _ => None,
        }
    }
}

pub(crate) fn system(operation: &'static str, path: PathBuf, source: io::Error) -> ContentError {
    ContentError::System { operation, path, source }
}

/// Says of a failed system call what was tried with which path.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, ContentError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, operation: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, ContentError> {
        self.map_err(|error| system(operation, path(), error.into()))
    }
}
