// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with contexts.

use std::io;
use std::path::{Path, PathBuf};

use errors::{Classify, Kind, kind_of_io};

/// A context that cannot be used or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// No home, no store.
    #[error("contexts are kept in $DOCKER_CONFIG or ~/.docker, and neither DOCKER_CONFIG nor HOME is set")]
    Homeless,
    /// A name that is none.
    #[error("\"{0}\" cannot be the name of a context")]
    Name(String),
    /// `default` is always there.
    #[error("the context \"default\" is this host's own daemon, and cannot be changed, removed or exported")]
    Reserved,
    /// There is no such context.
    #[error("there is no context \"{0}\"")]
    Missing(String),
    /// There is one already.
    #[error("there is a context \"{0}\" already")]
    Taken(String),
    /// It leads to no daemon.
    #[error("the context \"{0}\" says no address of a daemon")]
    NoEndpoint(String),
    /// It asks for TLS without verification.
    #[error("the context \"{0}\" wants to trust any server (SkipTLSVerify), which is not supported")]
    Unverified(String),
    /// The store cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is not understood", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A record cannot be written down.
    #[error("the context cannot be encoded")]
    Encode(#[source] serde_json::Error),
    /// An archive cannot be read or written.
    #[error("the archive of a context cannot be read or written")]
    Archive(#[source] io::Error),
    /// An archive is not one of a context.
    #[error("this is no archive of a context: {0}")]
    Foreign(String),
    /// Its record is not one.
    #[error("the archive's meta.json is not understood")]
    ForeignRecord(#[source] serde_json::Error),
}

impl ContextError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> ContextError {
        ContextError::Io { action, path: path.to_owned(), source }
    }
}

impl Classify for ContextError {
    fn kind(&self) -> Kind {
        match self {
            ContextError::Missing(_) => Kind::NotFound,
            ContextError::Taken(_) => Kind::Conflict,
            ContextError::Unverified(_) => Kind::Unsupported,
            ContextError::Io { source, .. } | ContextError::Archive(source) => kind_of_io(source),
            ContextError::Malformed { .. } => Kind::Corrupt,
            ContextError::Encode(_) => Kind::Internal,
            _ => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ContextError::Name(_) => Some(
                "a name has letters, digits and any of _.+-, at least two, and begins with a letter or digit".into(),
            ),
            ContextError::Missing(_) => {
                Some("`corten context ls` lists all; `corten context use default` uses none".into())
            }
            ContextError::Taken(_) => Some("`corten context update` changes it, `corten context rm` removes it".into()),
            ContextError::Unverified(_) => Some(
                "give it the authority of the daemon's certificate: corten context update --docker host=…,ca=…".into(),
            ),
            _ => None,
        }
    }
}
