// SPDX-License-Identifier: Apache-2.0
//! Why the child could not apply an operation.

use std::path::PathBuf;

use errors::{Classify, Kind, kind_of_io};

use crate::executable::ExecutableError;
use crate::hooks::HookError;

/// The operation that failed, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// An operation failed.
    #[error("{operation}")]
    Operation {
        operation: String,
        #[source]
        source: StepError,
    },
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// There is nothing to execute.
    #[error(transparent)]
    Executable(#[from] ExecutableError),
}

/// Why one operation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Call(#[from] sys::Error),
    /// Something in the way that is not what it must be.
    #[error("{path:?} is not {expected}")]
    NotExpected { path: PathBuf, expected: &'static str },
    /// The kernel will not clone a mount without those below it, whose root would then be seen through them.
    #[error("{path:?} cannot be bound alone")]
    NotAlone {
        path: PathBuf,
        #[source]
        source: sys::Error,
    },
    /// A mount's destination leads into the kernel's own interface.
    #[error("{path:?} leads into procfs")]
    LeadsIntoProc { path: PathBuf },
    /// A mount's destination leads to the container's root, which cannot be covered while it runs.
    #[error("{path:?} leads to the container's root")]
    LeadsToRoot { path: PathBuf },
    /// A mount that shall go is not what is seen at its place.
    #[error("what is mounted on {path:?} is something else by now")]
    Covered { path: PathBuf },
    /// A mount that shall go is moved about.
    #[error("it is moved from place to place")]
    Moving,
    /// Who goes before others cannot be where that is not allowed.
    #[error("the cgroup has no real-time processor time, and what starts the container has a real-time policy")]
    NoRealtime(#[source] sys::Error),
    /// The working directory is not below the root.
    #[error("the directory is outside of the container")]
    OutsideContainer,
    /// The launcher ended meanwhile.
    #[error("the process that starts the container is gone")]
    ParentGone,
    /// The plan asks for what the launcher did not hand over: a bug.
    #[error("the launcher did not provide {what}")]
    NotProvided { what: &'static str },
    /// The intermediate process could not make the container's.
    #[error(transparent)]
    Clone(#[from] sys::process::CloneError),
    /// `start` cannot be waited for.
    #[error("wait for start")]
    Fifo(#[source] sys::Error),
    /// Somebody ended the process before `start`.
    #[error("ended by a signal")]
    EndedWhileWaiting,
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// A process ended up with executable questions.
    #[error(transparent)]
    Executable(#[from] ExecutableError),
}

impl Classify for ApplyError {
    fn kind(&self) -> Kind {
        match self {
            ApplyError::Hook(error) => error.kind(),
            ApplyError::Executable(error) => error.kind(),
            ApplyError::Operation { source, .. } => match source {
                StepError::Call(error) => kind_of_io(&error.to_io()),
                StepError::NotExpected { .. }
                | StepError::NotAlone { .. }
                | StepError::LeadsIntoProc { .. }
                | StepError::LeadsToRoot { .. }
                | StepError::NoRealtime(_)
                | StepError::OutsideContainer => Kind::InvalidArgument,
                StepError::Hook(error) => error.kind(),
                StepError::Executable(error) => error.kind(),
                StepError::Clone(sys::process::CloneError::Call(error)) => kind_of_io(&error.to_io()),
                StepError::Clone(sys::process::CloneError::Threads { .. }) => Kind::Internal,
                StepError::EndedWhileWaiting | StepError::Covered { .. } | StepError::Moving => Kind::Conflict,
                StepError::ParentGone | StepError::NotProvided { .. } | StepError::Fifo(_) => Kind::Internal,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ApplyError::Executable(error) => error.hint(),
            ApplyError::Operation { source: StepError::NotAlone { .. }, .. } => {
                Some("in a user namespace, what has mounts below it can only be bound with them: use rbind".into())
            }
            ApplyError::Operation { source: StepError::Covered { .. } | StepError::Moving, .. } => {
                Some("stop the container: then what is mounted there at its start can be changed".into())
            }
            ApplyError::Operation { source: StepError::NoRealtime(_), .. } => Some(
                "start it with the usual policy (chrt --other 0), or give its cgroup real-time processor time \
                 (--cpu-rt-runtime, linux.resources.cpu.realtimeRuntime)"
                    .into(),
            ),
            ApplyError::Hook(_) | ApplyError::Operation { .. } => None,
        }
    }
}
