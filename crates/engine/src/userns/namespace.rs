// SPDX-License-Identifier: Apache-2.0
//! The user namespace that a container is started in: made for it, with the network namespace that belongs to it; or that of
//! the container whose namespaces it shares, if both have the same ids.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::linux::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use oci::runtime_spec::LinuxNamespaceType as Kind;
use shim::{Namespaces, NamespacesRequest};

use super::IdRange;
use crate::Engine;
use crate::container::{Container, Record, Running};
use crate::error::EngineError;
use crate::request::{IpcMode, NetworkMode, PidMode};
use crate::signal::pidfd;
use crate::surroundings::Joined;

/// A user namespace, open until its container is in it.
#[derive(Debug)]
pub(crate) struct UserNamespace {
    /// Its ids.
    pub(crate) ids: IdRange,
    file: OwnedFd,
    /// A network namespace that belongs to it, with nothing in it yet.
    pub(crate) network: Option<OwnedFd>,
    /// A mount of the procfs of the pid namespace that the container joins, where it may not make one.
    procfs: Option<OwnedFd>,
    /// A mount of the sysfs of the network namespace that the container joins, where it may not make one.
    sysfs: Option<OwnedFd>,
}

impl UserNamespace {
    /// A path that leads to it as long as this is there.
    pub(crate) fn path(&self) -> PathBuf {
        file_path(&self.file)
    }

    /// What is bound at `/proc`, where that is no file system of the container's own.
    pub(crate) fn procfs(&self) -> Option<PathBuf> {
        self.procfs.as_ref().map(file_path)
    }

    /// The same at `/sys`.
    pub(crate) fn sysfs(&self) -> Option<PathBuf> {
        self.sysfs.as_ref().map(file_path)
    }

    /// The ids, for mounts.
    pub(crate) fn for_mounts(&self) -> snapshot::Ids<'_> {
        snapshot::Ids { namespace: self.file.as_fd(), uid: self.ids.uid, gid: self.ids.gid }
    }
}

/// A path that leads whoever may look at this process to an open file, as long as it is open.
fn file_path(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", rustix::process::getpid().as_raw_nonzero(), file.as_raw_fd()))
}

/// Whose namespaces a container shares.
#[derive(Default)]
struct Shared {
    /// The user namespace of the others with the same ids.
    user: Option<OwnedFd>,
    /// The pid namespace of one with other ids.
    pids: Option<PathBuf>,
    /// The network namespace of one with other ids.
    network: Option<PathBuf>,
    /// Keeps open what the path leads to.
    held: Vec<Joined>,
}

/// What a user namespace is to come with.
#[derive(Default)]
struct Wanted {
    /// The namespace itself; a new one without.
    user: Option<OwnedFd>,
    /// A network namespace that belongs to it.
    network: bool,
    /// The procfs of this pid namespace.
    procfs_of: Option<PathBuf>,
    /// The sysfs of this network namespace.
    sysfs_of: Option<PathBuf>,
}

impl Engine {
    /// The user namespace for a start; `None` for a container that has the host's.
    ///
    /// # Errors
    /// A container whose namespaces are shared does not run, or has other ids where that cannot be.
    pub(crate) fn user_namespace(&self, record: &Record) -> Result<Option<UserNamespace>, EngineError> {
        let Some(ids) = record.ids else { return Ok(None) };
        let Shared { user, pids, network: joined, held: _held } = self.shared_with(record, ids)?;
        let network = !matches!(record.spec.network, NetworkMode::Container(_));
        let wanted = Wanted { user, network, procfs_of: pids, sysfs_of: joined };
        self.make_user_namespace(ids, wanted).map(Some)
    }

    /// A user namespace with a container's ids, to look at its files with: its own while it runs.
    pub(crate) fn user_namespace_for_files(&self, record: &Record) -> Result<Option<UserNamespace>, EngineError> {
        let Some(ids) = record.ids else { return Ok(None) };
        let user = record.state.running().map(of_process).transpose()?.flatten();
        self.make_user_namespace(ids, Wanted { user, ..Wanted::default() }).map(Some)
    }

    fn make_user_namespace(&self, ids: IdRange, wanted: Wanted) -> Result<UserNamespace, EngineError> {
        let IdRange { uid, gid, count } = ids;
        let Wanted { user, network, procfs_of, sysfs_of } = wanted;
        if let (false, None, None) = (network, &procfs_of, &sysfs_of)
            && let Some(file) = user
        {
            return Ok(UserNamespace { ids, file, network: None, procfs: None, sysfs: None });
        }
        let user = user.as_ref().map(file_path);
        let request = NamespacesRequest { user, uid, gid, count, network, procfs_of, sysfs_of };
        let Namespaces { user, network, procfs, sysfs } = self.zygote.make_namespaces(&request)?;
        Ok(UserNamespace { ids, file: user, network, procfs, sysfs })
    }

    /// What is to be shared of others' namespaces. A namespace belongs to a user namespace: with other ids a container has
    /// no rights over what it shares.
    fn shared_with(&self, record: &Record, ids: IdRange) -> Result<Shared, EngineError> {
        let mut shared = Shared::default();
        let isolation = &record.spec.isolation;
        let network = match &record.spec.network {
            NetworkMode::Container(other) => Some(other),
            _ => None,
        };
        let pids = match &isolation.pid {
            PidMode::Container(other) => Some(other),
            _ => None,
        };
        let ipc = match &isolation.ipc {
            IpcMode::Container(other) => Some(other),
            _ => None,
        };
        for (flag, other) in [("--network", network), ("--pid", pids), ("--ipc", ipc)] {
            let Some(other) = other else { continue };
            let (direct, owner) = (self.container(other)?, self.owner_of(flag, other)?);
            let has_same = |container: &Container| container.with_record(|record| record.ids) == Some(ids);
            if has_same(&direct) && has_same(&owner) {
                let user = File::from(self.open_namespace(flag, other, Kind::User, "user")?.into_file());
                one_for_all(flag, shared.user.as_ref(), &user)?;
                shared.user = Some(user.into());
            } else if flag == "--ipc" {
                let reason = format!("container {other} has other ids: only its own could use what is shared");
                return Err(EngineError::invalid(flag, reason));
            } else if flag == "--pid" {
                let joined = self.open_namespace(flag, other, Kind::Pid, "pid")?;
                shared.pids = Some(joined.path.clone());
                shared.held.push(joined);
            } else {
                let joined = self.open_namespace(flag, other, Kind::Network, "net")?;
                shared.network = Some(joined.path.clone());
                shared.held.push(joined);
            }
        }
        Ok(shared)
    }

    /// Whose the namespace is that a container would share by another one, which may share it itself.
    ///
    /// # Errors
    /// It is the host's.
    fn owner_of(&self, flag: &'static str, other: &str) -> Result<Arc<Container>, EngineError> {
        let mut owner = self.container(other)?;
        // Each is older than the one that names it: this ends.
        loop {
            let (is_hosts, further) = owner.with_record(|record| match flag {
                "--network" => match &record.spec.network {
                    NetworkMode::Container(further) => (false, Some(further.clone())),
                    network => (*network == NetworkMode::Host, None),
                },
                "--pid" => match &record.spec.isolation.pid {
                    PidMode::Container(further) => (false, Some(further.clone())),
                    pid => (*pid == PidMode::Host, None),
                },
                _ => (false, None),
            });
            if is_hosts {
                let reason =
                    format!("container {other} shares the host's, which a container in a user namespace cannot");
                return Err(EngineError::invalid(flag, reason));
            }
            let Some(further) = further else { return Ok(owner) };
            owner = self.container(&further)?;
        }
    }
}

/// Refuses to be in two user namespaces.
fn one_for_all(flag: &'static str, before: Option<&OwnedFd>, user: &File) -> Result<(), EngineError> {
    let Some(before) = before else { return Ok(()) };
    let failed = |error| EngineError::io("look at a user namespace of", "another container")(error);
    let number = rustix::fs::fstat(before).map_err(|errno| failed(errno.into()))?.st_ino;
    if user.metadata().map_err(failed)?.st_ino() != number {
        let reason = "the containers whose namespaces are shared are in different user namespaces";
        return Err(EngineError::invalid(flag, reason));
    }
    Ok(())
}

/// The user namespace of a running container; `None` when it has just ended.
fn of_process(running: &Running) -> Result<Option<OwnedFd>, EngineError> {
    let path = format!("/proc/{}/ns/user", running.pid);
    let file = File::open(&path);
    // If it is still the process it was, what was opened before is its own, too.
    if pidfd(running)?.is_none() {
        return Ok(None);
    }
    Ok(Some(file.map_err(EngineError::io("open", path))?.into()))
}
