// SPDX-License-Identifier: Apache-2.0
//! Why a container, or another process in one, was not started.

use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind, Report, kind_of_io};

use crate::plan::PlanError;

/// Why nothing was started. Whatever had been made (process, cgroup) is gone again.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The spec cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// `linux.cgroupsPath` is not a path below the hierarchies' roots.
    #[error("linux.cgroupsPath in the container's configuration")]
    CgroupPath(#[source] cgroup::PathError),
    /// The container's cgroup could not be made or opened.
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    /// The system call filter could not be made.
    #[error("linux.seccomp in the container's configuration")]
    Filter(#[source] seccomp::CompileError),
    /// There is no table of system calls for this machine.
    #[error("system call filters are not supported on this machine's architecture")]
    Architecture,
    /// The program that launches could be overwritten from inside the container; see [`crate::protect`].
    #[error("the running program could be overwritten from inside a container")]
    Exposed,
    /// A namespace's file could not be opened.
    #[error("open the namespace {path}", path = path.display())]
    Namespace {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No child could be made.
    #[error(transparent)]
    Clone(#[from] sys::process::CloneError),
    /// A system call of the launcher failed.
    #[error(transparent)]
    Call(#[from] sys::Error),
    /// The child gave up, and said why.
    #[error(transparent)]
    Child(#[from] Report),
    /// The child ended without saying why (it was killed, most likely for want of memory in its cgroup).
    #[error("the container's first process ended before it executed its command ({status})")]
    ChildGone {
        /// How it ended.
        status: String,
    },
    /// It failed, and what had been made before could not all be removed.
    #[error("{}; and it could not be undone: {}", errors::chain(error.as_ref()), errors::chain(undo.as_ref()))]
    LeftBehind {
        /// What failed first.
        error: Box<LaunchError>,
        /// What failed when it was undone.
        undo: Box<LaunchError>,
    },
    /// What the child said could not be read.
    #[error("read what the container's first process says")]
    Listen(#[source] io::Error),
}

impl LaunchError {
    /// This error, after what was done before was undone: with the failure of that, if it failed.
    pub(crate) fn undone<T, E: Into<LaunchError>>(self, undo: Result<T, E>) -> LaunchError {
        match undo {
            Ok(_) => self,
            Err(undo) => LaunchError::LeftBehind { error: Box::new(self), undo: Box::new(undo.into()) },
        }
    }
}

impl Classify for LaunchError {
    fn kind(&self) -> Kind {
        match self {
            LaunchError::Plan(error) => error.kind(),
            LaunchError::CgroupPath(_) | LaunchError::Filter(_) => Kind::InvalidArgument,
            LaunchError::Cgroup(error) => error.kind(),
            LaunchError::Architecture => Kind::Unsupported,
            LaunchError::Exposed => Kind::Internal,
            LaunchError::Namespace { source, .. } => kind_of_io(source),
            LaunchError::Clone(sys::process::CloneError::Threads { .. }) => Kind::Internal,
            LaunchError::Clone(sys::process::CloneError::Call(error)) | LaunchError::Call(error) => {
                kind_of_io(&error.to_io())
            }
            LaunchError::Child(report) => report.kind,
            LaunchError::LeftBehind { error, .. } => error.kind(),
            LaunchError::ChildGone { .. } | LaunchError::Listen(_) => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            LaunchError::Plan(error) => error.hint(),
            LaunchError::Cgroup(error) => error.hint(),
            LaunchError::Child(report) => report.hint.clone(),
            LaunchError::LeftBehind { error, .. } => error.hint(),
            LaunchError::Exposed => Some("runtime::protect::reexec must be the first thing such a program does".into()),
            LaunchError::ChildGone { .. } => Some("its memory limit may be too low to start anything".into()),
            _ => None,
        }
    }
}
