// SPDX-License-Identifier: Apache-2.0
//! Why a container was not checkpointed or restored.

use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind, Report, kind_of_io};

use super::wire::WireError;
use crate::LaunchError;

/// Why CRIU did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CriuError {
    #[error("CRIU is not installed: no directory of PATH has a program criu")]
    NotInstalled,
    #[error("CRIU is too old for {purpose}: it is version {found}, and {needed} is needed")]
    TooOld { purpose: &'static str, found: String, needed: String },
    #[error("CRIU cannot do {feature} on this kernel")]
    NoFeature { feature: &'static str },
    #[error("{what} cannot be checkpointed or restored: {reason}")]
    Unsupported { what: String, reason: &'static str },
    #[error("start CRIU")]
    Start(#[source] Report),
    #[error("CRIU ended without an answer ({status})")]
    Ended { status: String },
    #[error("CRIU did what was asked, but then failed ({status})")]
    FailedAfterwards { status: String },
    #[error("CRIU's answer cannot be read")]
    Unreadable(#[source] WireError),
    #[error("CRIU's answer is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("CRIU's answer is of kind {kind}, not of the kind that was asked for")]
    OtherAnswer { kind: u64 },
    #[error("CRIU's answer names no process")]
    NoProcess,
    #[error("CRIU sent no terminal with its notification")]
    NoTerminal,
    #[error("CRIU could not {action} the container{because}\n{lines}")]
    Refused {
        action: &'static str,
        because: String,
        /// The end of its log.
        lines: String,
        log: PathBuf,
    },
    #[error("{action} {path}", path = path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a list of what the standard streams were", path = path.display())]
    Descriptors {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error(transparent)]
    Clone(#[from] sys::process::CloneError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    #[error(transparent)]
    Call(#[from] sys::Error),
}

impl CriuError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CriuError {
        let path = path.into();
        move |source| CriuError::File { action, path, source }
    }
}

impl Classify for CriuError {
    fn kind(&self) -> Kind {
        match self {
            CriuError::NotInstalled
            | CriuError::TooOld { .. }
            | CriuError::NoFeature { .. }
            | CriuError::Unsupported { .. } => Kind::Unsupported,
            CriuError::Start(report) => report.kind,
            CriuError::Descriptors { .. } => Kind::InvalidArgument,
            CriuError::File { source, .. } => kind_of_io(source),
            CriuError::Launch(error) => error.kind(),
            CriuError::Cgroup(error) => error.kind(),
            CriuError::Call(error) => kind_of_io(&error.to_io()),
            CriuError::Ended { .. }
            | CriuError::FailedAfterwards { .. }
            | CriuError::Unreadable(_)
            | CriuError::TooLong { .. }
            | CriuError::OtherAnswer { .. }
            | CriuError::NoProcess
            | CriuError::NoTerminal
            | CriuError::Refused { .. }
            | CriuError::Clone(_) => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CriuError::NotInstalled => Some("install criu (the package is called so in every distribution)".into()),
            CriuError::TooOld { .. } => Some("install a newer criu".into()),
            CriuError::Refused { log, .. } => Some(format!("the whole log is {}", log.display())),
            CriuError::Launch(error) => error.hint(),
            CriuError::Cgroup(error) => error.hint(),
            _ => None,
        }
    }
}
