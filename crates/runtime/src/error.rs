// SPDX-License-Identifier: Apache-2.0
//! Why a container, or another process in one, was not started.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use errors::{Classify, Kind, Report, kind_of_io};

use crate::hooks::HookError;
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
    /// systemd did not make the container's scope.
    #[error(transparent)]
    Systemd(#[from] cgroup::systemd::SystemdError),
    /// The system call filter could not be made.
    #[error("linux.seccomp in the container's configuration")]
    Filter(#[source] seccomp::CompileError),
    /// The profile that was given apart from the configuration is none.
    #[error("the system call filter's profile, given apart from the container's configuration")]
    FilterText(#[source] serde_json::Error),
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
    /// The listener of a filter that notifies could not be handed over.
    #[error("hand the listener of linux.seccomp over at listenerPath {path}", path = path.display())]
    Listener {
        /// Where somebody should have been waiting for it.
        path: PathBuf,
        /// Why.
        #[source]
        source: sys::Error,
    },
    /// A filter notifies, and what its listener is told is not known to who executes another process.
    #[error("linux.seccomp in the container's configuration notifies, which processes executed here do not support")]
    NoListener,
    /// A hook failed. The container was stopped and taken down again.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The child gave up, and said why.
    #[error(transparent)]
    Child(#[from] Report),
    /// What the child may not do itself, the launcher could not do for it.
    #[error("{operation}")]
    Outside {
        /// The operation of the plan.
        operation: String,
        /// Why.
        #[source]
        source: sys::Error,
    },
    /// A mount could not be given other ids.
    #[error("{operation}: files on {file_system} cannot be shown with other ids")]
    NoIdMap {
        /// The operation of the plan.
        operation: String,
        /// The type of the file system that is bound.
        file_system: String,
        /// Why.
        #[source]
        source: sys::Error,
    },
    /// A limit needs a cgroup, and this user may make none.
    #[error("{limit} in the container's configuration needs a cgroup, and this user may make none")]
    NoCgroupForLimit {
        /// The field.
        limit: &'static str,
        /// Why.
        #[source]
        source: cgroup::CgroupError,
    },
    /// The program without which an unprivileged user has no other ids than its own is missing.
    #[error(
        "{program} is not installed, and only it can give a user namespace the ids that linux.uidMappings asks for"
    )]
    NoIdHelper {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
    },
    /// It could not be run.
    #[error("run {program}")]
    IdHelper {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It refused.
    #[error("{program} refused the mappings of the container's configuration ({status}): {said}")]
    IdHelperRefused {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
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
    /// Whether the child had closed the listener that it offered.
    pub(crate) fn is_closed_listener(&self) -> bool {
        matches!(self, LaunchError::Listener { source, .. } if source.errno() == rustix::io::Errno::BADF)
    }

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
            LaunchError::CgroupPath(_) | LaunchError::Filter(_) | LaunchError::FilterText(_) => Kind::InvalidArgument,
            LaunchError::Cgroup(error) => error.kind(),
            LaunchError::Systemd(error) => error.kind(),
            LaunchError::Architecture => Kind::Unsupported,
            LaunchError::Exposed => Kind::Internal,
            LaunchError::Namespace { source, .. } => kind_of_io(source),
            LaunchError::Clone(sys::process::CloneError::Threads { .. }) => Kind::Internal,
            LaunchError::Clone(sys::process::CloneError::Call(error)) | LaunchError::Call(error) => {
                kind_of_io(&error.to_io())
            }
            LaunchError::NoIdHelper { .. } | LaunchError::NoIdMap { .. } => Kind::Unsupported,
            LaunchError::NoCgroupForLimit { .. } => Kind::PermissionDenied,
            LaunchError::IdHelper { source, .. } => kind_of_io(source),
            LaunchError::IdHelperRefused { .. } => Kind::InvalidArgument,
            LaunchError::Outside { source, .. } => kind_of_io(&source.to_io()),
            LaunchError::Listener { source, .. } => kind_of_io(&source.to_io()),
            LaunchError::NoListener => Kind::Unsupported,
            LaunchError::Hook(error) => error.kind(),
            LaunchError::Child(report) => report.kind,
            LaunchError::LeftBehind { error, .. } => error.kind(),
            LaunchError::ChildGone { .. } | LaunchError::Listen(_) => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            LaunchError::Plan(error) => error.hint(),
            LaunchError::Cgroup(error) => error.hint(),
            LaunchError::Systemd(error) => error.hint(),
            LaunchError::Child(report) => report.hint.clone(),
            LaunchError::LeftBehind { error, .. } => error.hint(),
            LaunchError::Exposed => Some("runtime::protect::reexec must be the first thing such a program does".into()),
            LaunchError::NoIdMap { .. } => Some(
                "the file system, or the kernel's support for it, has no id-mapped mounts, or it has one already"
                    .into(),
            ),
            LaunchError::NoCgroupForLimit { .. } => Some(
                "run it in a cgroup v2 subtree that is the user's (systemd: Delegate=yes), or without limits".into(),
            ),
            LaunchError::NoIdHelper { .. } => {
                Some("install the package uidmap (shadow-utils elsewhere), or map only one's own user and group".into())
            }
            LaunchError::IdHelperRefused { .. } => {
                Some("see /etc/subuid and /etc/subgid for the ids one may use".into())
            }
            LaunchError::ChildGone { .. } => Some("its memory limit may be too low to start anything".into()),
            _ => None,
        }
    }
}
