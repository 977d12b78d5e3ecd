// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with the store.

use std::io;
use std::path::{Path, PathBuf};

use errors::{Classify, Kind, kind_of_io};

/// A failed open or a failed transaction.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The file cannot be opened, made or locked.
    #[error("cannot open the metadata store {path:?}")]
    Open {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the metadata store {path:?} is in use by another daemon")]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// A file that Corten did not make.
    #[error("{path:?} is not a metadata store of Corten")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A store whose content does not fit together any more.
    #[error("the metadata store {path:?} is damaged")]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What redb found.
        #[source]
        source: Box<redb::Error>,
    },
    /// A store that a later version of Corten made.
    #[error("the metadata store {path:?} has schema version {found}; this version of Corten knows {known}")]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version written here.
        known: u32,
    },
    /// A transaction that failed.
    #[error("a transaction on the metadata store {path:?} failed")]
    Transaction {
        /// The store's file.
        path: PathBuf,
        /// What redb said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A value that cannot be written as JSON.
    #[error("cannot encode the value of {key:?} for the table {table:?}")]
    Encode {
        /// The table's name.
        table: &'static str,
        /// The key.
        key: String,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
    /// A stored value that is not of the type asked for.
    #[error("the value of {key:?} in the table {table:?} cannot be read")]
    Decode {
        /// The table's name.
        table: &'static str,
        /// The key.
        key: String,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
}

/// `source`, met in a transaction on the store at `path`: damage is told apart from what may pass.
pub(crate) fn storage(path: &Path, source: impl Into<redb::Error>) -> MetadataError {
    let (path, source) = (path.to_owned(), Box::new(source.into()));
    match *source {
        redb::Error::Corrupted(_) => MetadataError::Damaged { path, source },
        _ => MetadataError::Transaction { path, source },
    }
}

impl Classify for MetadataError {
    fn kind(&self) -> Kind {
        match self {
            MetadataError::Open { source, .. } => kind_of_io(source),
            MetadataError::InUse { .. } => Kind::Conflict,
            MetadataError::Newer { .. } => Kind::Unsupported,
            MetadataError::Foreign { .. } | MetadataError::Damaged { .. } | MetadataError::Decode { .. } => {
                Kind::Corrupt
            }
            MetadataError::Transaction { source, .. } => match &**source {
                redb::Error::Io(error) => kind_of_io(error),
                _ => Kind::Internal,
            },
            MetadataError::Encode { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            MetadataError::InUse { .. } => {
                Some("stop the other daemon, or give this one its own --data-root".to_owned())
            }
            MetadataError::Newer { .. } => Some("use the version of Corten that wrote it, or a later one".to_owned()),
            MetadataError::Foreign { path } | MetadataError::Damaged { path, .. } => {
                Some(format!("move {} away, or restore it from a backup; nothing was changed in it", path.display()))
            }
            _ => None,
        }
    }
}
