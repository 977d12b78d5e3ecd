// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with logs.

use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind, kind_of_io};

/// Why a log cannot be kept, read or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// A driver or an option that cannot be.
    #[error("{field}: {reason}")]
    Invalid {
        /// The flag, as the user knows it.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file operation failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was done, a verb.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A worker thread ended without an answer.
    #[error("the worker that reads logs panicked")]
    Worker,
}

impl LoggingError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> LoggingError {
        let path = path.into();
        move |source| LoggingError::Io { action, path, source }
    }

    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> LoggingError {
        LoggingError::Invalid { field, reason: reason.into() }
    }
}

impl Classify for LoggingError {
    fn kind(&self) -> Kind {
        match self {
            LoggingError::Invalid { .. } => Kind::InvalidArgument,
            LoggingError::Io { source, .. } => kind_of_io(source),
            LoggingError::Worker => Kind::Internal,
        }
    }
}

/// Runs `work`, which reads files, on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoggingError> + Send + 'static,
) -> Result<T, LoggingError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| LoggingError::Worker)?
}
