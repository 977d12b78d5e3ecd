// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with control groups.

use std::io;

use errors::{Classify, Kind, kind_of_io};

use crate::{CgroupPath, Controller};

/// Why a control group could not be made, limited, read, emptied or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file under `/proc` that lists mounts or controllers could not be read.
    #[error("read {path:?}")]
    Probe {
        /// The file.
        path: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A mount point of a hierarchy could not be opened, or is covered by another mount.
    #[error("open the cgroup hierarchy at {mount_point:?}")]
    Hierarchy {
        /// Where it is mounted.
        mount_point: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// No hierarchy is mounted at all.
    #[error("no cgroup hierarchy is mounted")]
    NotMounted,
    /// The cgroup exists already and has processes or children in it.
    #[error("container's cgroup is not empty: {path} exists already and is in use")]
    Exists {
        /// The cgroup.
        path: String,
    },
    /// The cgroup exists already, and whatever joins it stands still.
    #[error("container's cgroup unexpectedly frozen: {path} exists already")]
    Frozen {
        /// The cgroup.
        path: String,
    },
    /// The cgroup is in none of the hierarchies.
    #[error("there is no cgroup {path}")]
    NotFound {
        /// The cgroup.
        path: String,
    },
    /// A v1 controller was named whose hierarchy this host does not have.
    #[error("this host has no cgroup v1 hierarchy with the controller {name:?}")]
    UnknownHierarchy {
        /// The name given.
        name: String,
    },
    /// A limit was asked for whose controller this host does not offer.
    #[error("{limit} needs the cgroup controller `{controller}`, which this host does not offer")]
    MissingController {
        /// The controller.
        controller: Controller,
        /// The limit, in the words of the OCI runtime specification.
        limit: &'static str,
    },
    /// A limit was asked for whose file this kernel does not have.
    #[error("invalid configuration: {limit} needs the cgroup file {file:?}, which this kernel does not have")]
    MissingFile {
        /// The file's name.
        file: String,
        /// The limit, in the words of the OCI runtime specification.
        limit: &'static str,
    },
    /// A limit that this version of control groups cannot express.
    #[error("{limit} cannot be set under cgroup {version}")]
    Inexpressible {
        /// The limit, in the words of the OCI runtime specification.
        limit: &'static str,
        /// `v1` or `v2`.
        version: &'static str,
    },
    /// A limit whose value means nothing.
    #[error("{limit} of {value}: {why}")]
    InvalidLimit {
        /// The limit, in the words of the OCI runtime specification.
        limit: &'static str,
        /// The value asked for.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A memory limit below what is in use, where the caller asked that this be checked.
    #[error("memory.limit of {limit} bytes is below the {usage} bytes in use")]
    BelowUsage {
        /// Bytes asked for.
        limit: u64,
        /// Bytes in use.
        usage: u64,
    },
    /// A cgroup's directory could not be made.
    #[error("mkdir cgroup {path} in {hierarchy}")]
    Make {
        /// The cgroup.
        path: String,
        /// The hierarchy.
        hierarchy: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A cgroup's directory could not be opened or listed.
    #[error("open cgroup {path} in {hierarchy}")]
    Open {
        /// The cgroup.
        path: String,
        /// The hierarchy.
        hierarchy: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A cgroup's file could not be read.
    #[error("read {file:?} of cgroup {path}")]
    Read {
        /// The cgroup.
        path: String,
        /// The file's name.
        file: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A value could not be written.
    #[error("write {value:?} to {file:?} of cgroup {path}")]
    Write {
        /// The cgroup.
        path: String,
        /// The file's name.
        file: String,
        /// What was written.
        value: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel's file holds something other than its documentation says.
    #[error("{file:?} of cgroup {path} holds {text:?}")]
    Content {
        /// The cgroup.
        path: String,
        /// The file's name.
        file: String,
        /// What it holds.
        text: String,
    },
    /// A cgroup could not be given to a user.
    #[error("make user {uid} the owner of cgroup {path}")]
    Own {
        /// The cgroup.
        path: String,
        /// The user's id.
        uid: u32,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A process could not be signalled.
    #[error("kill process {pid} of cgroup {path}")]
    Signal {
        /// The cgroup.
        path: String,
        /// The process.
        pid: i32,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The program that decides about devices was not taken.
    #[error("limit the devices of cgroup {path}")]
    DeviceProgram {
        /// The cgroup.
        path: String,
        /// The system call that failed.
        #[source]
        source: sys::Error,
    },
    /// The processes did not stop within the time given.
    #[error("cgroup {path} did not become {state} within {seconds} s")]
    Timeout {
        /// The cgroup.
        path: String,
        /// What was waited for: `frozen`, `thawed`, `empty`.
        state: &'static str,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// Something failed, and what had been made before could not all be removed.
    #[error("{}; and it could not be undone: {}", errors::chain(error.as_ref()), errors::chain(undo.as_ref()))]
    LeftBehind {
        /// What failed first.
        error: Box<CgroupError>,
        /// What failed when it was undone.
        undo: Box<CgroupError>,
    },
    /// A cgroup's directory could not be removed.
    #[error("rmdir cgroup {path} in {hierarchy}")]
    Remove {
        /// The cgroup.
        path: String,
        /// The hierarchy.
        hierarchy: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl Classify for CgroupError {
    fn kind(&self) -> Kind {
        match self {
            CgroupError::NotMounted
            | CgroupError::MissingController { .. }
            | CgroupError::MissingFile { .. }
            | CgroupError::Inexpressible { .. } => Kind::Unsupported,
            CgroupError::Exists { .. } | CgroupError::Frozen { .. } | CgroupError::BelowUsage { .. } => Kind::Conflict,
            CgroupError::NotFound { .. } => Kind::NotFound,
            CgroupError::InvalidLimit { .. } | CgroupError::UnknownHierarchy { .. } => Kind::InvalidArgument,
            CgroupError::DeviceProgram { source, .. } => match source.errno() {
                rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL => Kind::Unsupported,
                _ => kind_of_io(&source.to_io()),
            },
            CgroupError::LeftBehind { error, .. } => error.kind(),
            CgroupError::Content { .. } | CgroupError::Timeout { .. } => Kind::Internal,
            // The kernel answers a value it does not like with one of these two.
            CgroupError::Write { source, .. }
                if matches!(
                    source.raw_os_error().map(rustix::io::Errno::from_raw_os_error),
                    Some(rustix::io::Errno::INVAL | rustix::io::Errno::RANGE)
                ) =>
            {
                Kind::InvalidArgument
            }
            CgroupError::Probe { source, .. }
            | CgroupError::Hierarchy { source, .. }
            | CgroupError::Make { source, .. }
            | CgroupError::Open { source, .. }
            | CgroupError::Read { source, .. }
            | CgroupError::Write { source, .. }
            | CgroupError::Own { source, .. }
            | CgroupError::Signal { source, .. }
            | CgroupError::Remove { source, .. } => kind_of_io(source),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CgroupError::LeftBehind { error, .. } => error.hint(),
            CgroupError::Frozen { .. } => Some("whoever froze it may still want it; otherwise remove it".to_owned()),
            CgroupError::NotMounted => {
                Some("mount one: `mount -t cgroup2 none /sys/fs/cgroup`, or boot with systemd".to_owned())
            }
            CgroupError::MissingController { controller, .. } => Some(format!(
                "leave the limit out, or see /proc/cgroups and the kernel's command line (`cgroup_disable={}`)",
                controller.v1_name()
            )),
            _ => None,
        }
    }
}

impl CgroupError {
    /// The cgroup is in use: it exists and is not empty.
    pub(crate) fn exists(path: &CgroupPath) -> CgroupError {
        CgroupError::Exists { path: path.to_string() }
    }
}
