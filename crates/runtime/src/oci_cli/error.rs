// SPDX-License-Identifier: Apache-2.0
//! What can go wrong on the OCI command line.

use std::io;
use std::path::PathBuf;

use super::store::Status;
use crate::LaunchError;
use errors::{Classify, Kind, kind_of_io};

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
    #[error("{}container {id:?} is {status}, and {action} needs one that is {expected}", not_running(*status))]
    State { id: String, status: Status, action: &'static str, expected: &'static str },
    #[error("cannot exec in a paused container: {id:?} must be resumed first")]
    Paused { id: String },
    #[error("ps option {option:?} is not supported")]
    PsOption { option: String },
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
    /// Like `/b/config.json: process.args`; the source says what is wrong there.
    #[error("{path}: {field}", path = path.display(), field = if field.is_empty() { "not JSON of its kind" } else { field })]
    Field {
        path: PathBuf,
        field: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{what} needs descriptor {number}, which is not open")]
    NoDescriptor { what: &'static str, number: u32 },
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
    Criu(#[from] crate::criu::CriuError),
    #[error("--{flag} cannot be honoured: {reason}")]
    Refused { flag: &'static str, reason: &'static str },
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    #[error(transparent)]
    Systemd(#[from] cgroup::systemd::SystemdError),
    #[error(transparent)]
    Call(#[from] sys::Error),
}

/// The words that containerd looks for in the answer to a kill, to tell an ended container from a failure (pkg/process,
/// `checkKillError`); "does not exist" is the other such text.
fn not_running(status: Status) -> &'static str {
    if status == Status::Stopped { "container not running: " } else { "" }
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
            | CliError::Json { .. }
            | CliError::Field { .. }
            | CliError::NoDescriptor { .. } => Kind::InvalidArgument,
            CliError::Unsupported { .. } | CliError::PsOption { .. } | CliError::Refused { .. } => Kind::Unsupported,
            CliError::Criu(error) => error.kind(),
            CliError::NotFound { .. } => Kind::NotFound,
            CliError::Exists { .. } | CliError::State { .. } | CliError::Paused { .. } => Kind::Conflict,
            CliError::StillAlive { .. } | CliError::Format(_) => Kind::Internal,
            CliError::File { source, .. } | CliError::Print(source) => kind_of_io(source),
            CliError::LeftBehind { error, .. } => error.kind(),
            CliError::Launch(error) => error.kind(),
            CliError::Cgroup(error) => error.kind(),
            CliError::Systemd(error) => error.kind(),
            CliError::Call(error) => kind_of_io(&error.to_io()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CliError::UnknownCommand { .. } | CliError::UnknownFlag { .. } => Some("see corten oci --help".into()),
            CliError::Paused { .. } => Some("or have it wait for that, with --ignore-paused".into()),
            CliError::PsOption { .. } => Some(
                "-e, -A and -f give the usual list; --format json gives the process ids for a ps of your own".into(),
            ),
            CliError::Exists { .. } => Some("choose another id, or delete that container first".into()),
            CliError::LeftBehind { error, .. } => error.hint(),
            CliError::Launch(error) => error.hint(),
            CliError::Criu(error) => error.hint(),
            CliError::Cgroup(error) => error.hint(),
            CliError::Systemd(error) => error.hint(),
            _ => None,
        }
    }
}
