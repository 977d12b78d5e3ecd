// SPDX-License-Identifier: Apache-2.0
//! What can go wrong on the OCI command line.

use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind, kind_of_io};
use oci::runtime_spec::ContainerState;

use crate::LaunchError;

#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("unknown command {name:?}")]
    UnknownCommand { name: String },
    #[error("unknown flag {flag:?}")]
    UnknownFlag { flag: String },
    #[error("flag --{flag} needs a value")]
    MissingValue { flag: &'static str },
    #[error("flag --{flag} has the value {value:?}, expected {expected}")]
    InvalidValue { flag: &'static str, value: String, expected: &'static str },
    #[error("expected {expected}")]
    Usage { expected: &'static str },
    #[error("{what} is not supported yet")]
    Unsupported { what: &'static str },
    #[error(transparent)]
    Id(#[from] oci::IdError),
    #[error("container {id:?} does not exist")]
    NotFound { id: String },
    #[error("container {id:?} exists already")]
    Exists { id: String },
    #[error("container {id:?} is {status}, and {action} needs one that is {expected}")]
    State { id: String, status: ContainerState, action: &'static str, expected: &'static str },
    #[error("{}; and it could not be undone: {}", errors::chain(error.as_ref()), errors::chain(undo.as_ref()))]
    LeftBehind { error: Box<CliError>, undo: Box<CliError> },
    #[error("container {id:?} did not end within {seconds} seconds of SIGKILL")]
    StillAlive { id: String, seconds: u64 },
    #[error("{path} is not a valid file of its kind", path = path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{action} {path}", path = path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("write to standard output")]
    Print(#[source] io::Error),
    #[error("write the answer as JSON")]
    Format(#[source] serde_json::Error),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    #[error(transparent)]
    Call(#[from] sys::Error),
}

impl CliError {
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CliError {
        let path = path.into();
        move |source| CliError::File { action, path, source }
    }
}

impl CliError {
    /// This error, after what was done before was undone: with every failure of that.
    pub(super) fn undone(self, steps: impl IntoIterator<Item = Result<(), CliError>>) -> CliError {
        let failed: Vec<CliError> = steps.into_iter().filter_map(Result::err).collect();
        failed
            .into_iter()
            .fold(self, |error, undo| CliError::LeftBehind { error: Box::new(error), undo: Box::new(undo) })
    }
}

impl Classify for CliError {
    fn kind(&self) -> Kind {
        match self {
            CliError::UnknownCommand { .. }
            | CliError::UnknownFlag { .. }
            | CliError::MissingValue { .. }
            | CliError::InvalidValue { .. }
            | CliError::Usage { .. }
            | CliError::Id(_)
            | CliError::Json { .. } => Kind::InvalidArgument,
            CliError::Unsupported { .. } => Kind::Unsupported,
            CliError::NotFound { .. } => Kind::NotFound,
            CliError::Exists { .. } | CliError::State { .. } => Kind::Conflict,
            CliError::StillAlive { .. } | CliError::Format(_) => Kind::Internal,
            CliError::File { source, .. } | CliError::Print(source) => kind_of_io(source),
            CliError::LeftBehind { error, .. } => error.kind(),
            CliError::Launch(error) => error.kind(),
            CliError::Cgroup(error) => error.kind(),
            CliError::Call(error) => kind_of_io(&error.to_io()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CliError::UnknownCommand { .. } | CliError::UnknownFlag { .. } => Some("see corten oci --help".into()),
            CliError::Exists { .. } => Some("choose another id, or delete that container first".into()),
            CliError::LeftBehind { error, .. } => error.hint(),
            CliError::Launch(error) => error.hint(),
            CliError::Cgroup(error) => error.hint(),
            _ => None,
        }
    }
}
