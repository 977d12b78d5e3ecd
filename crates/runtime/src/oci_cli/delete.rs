// SPDX-License-Identifier: Apache-2.0
//! `delete`: removes what is left of a container, its cgroup and its directory.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};

use cgroup::systemd::Scope;
use cgroup::{Cgroup, CgroupPath};
use oci::ContainerId;
use oci::runtime_spec::Spec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::log::Log;
use super::store::{Entry, Status};
use super::{Context, hooks, kill};
use crate::prepare::{CGROUP_PARENT, cgroup_host};

/// How long a killed process may take to end; one that waits for a dead disk takes longer than anybody would.
const PATIENCE_SECONDS: u64 = 10;

pub(super) fn delete(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    let flags = Flags::read(args, &[Flag::switch("force").short('f')])?;
    let id = flags.id()?;
    let force = flags.switch("force");
    let (entry, record) = match context.store.find(&id) {
        Err(error @ CliError::NotFound { .. }) => {
            // What an aborted `create` left, which would keep the id from everybody.
            context.store.forget(&id)?;
            // What is to be gone is gone: as good.
            return if force { Ok(0) } else { Err(error) };
        }
        other => other?,
    };
    let status = entry.phase(&record)?;
    // One that was never started has nothing to lose; runc deletes it without being forced.
    if status == Status::Running && !force {
        let status = entry.status(&record)?;
        return Err(CliError::State { id: id.to_string(), status, action: "delete", expected: "stopped" });
    }
    // What its hooks are is not known any more when its directory is gone.
    let spec = spec_if_whole(&entry, log)?;
    let cgroup = record.cgroup()?;
    if let Some(pidfd) = record.pidfd()? {
        sys::process::pidfd_send_signal(pidfd.as_fd(), 9)?;
        kill::thaw_killed(&record)?;
        await_end(&id, pidfd.as_fd())?;
    }
    if let Some(cgroup) = &cgroup {
        // Without a pid namespace of its own, a container's processes outlive its first.
        if (force || record.shares_pids) && !cgroup.processes()?.is_empty() {
            cgroup.kill()?;
        }
    } else if record.scope.is_none() {
        // Somebody else removed it; the one above it may be ours to remove.
        record.cgroup_path()?.map_or(Ok(()), |path| prune_parent(&path))?;
    }
    clean(&entry, cgroup.as_ref(), record.scope.as_ref())?;
    if let Some(spec) = spec {
        hooks::poststop(&id, &record.bundle, &spec, log);
    }
    Ok(0)
}

/// The configuration, unless it is gone or is none any more: a `delete` that was killed leaves the record alone.
fn spec_if_whole(entry: &Entry, log: &mut Log) -> Result<Option<Spec>, CliError> {
    let error = match entry.spec() {
        Ok(spec) => return Ok(Some(spec)),
        Err(error @ CliError::Json { .. }) => error,
        Err(CliError::File { action, path, source }) if source.kind() == std::io::ErrorKind::NotFound => {
            CliError::File { action, path, source }
        }
        Err(error) => return Err(error),
    };
    log.warning(&format!("poststop hooks, if it has any, are not run: {}", errors::chain(&error)));
    Ok(None)
}

/// Removes the cgroup, then the directory: while the directory is there, the cgroup can be found.
pub(super) fn clean(entry: &Entry, cgroup: Option<&Cgroup>, scope: Option<&Scope>) -> Result<(), CliError> {
    remove_cgroup(cgroup, scope)?;
    entry.remove()
}

/// Removes a cgroup that has no processes any more, and those above it that were made with it, as far as that is known,
/// unless others use them. Any other may be an administrator's, with limits of its own. A scope's parents are slices,
/// and systemd's.
pub(super) fn remove_cgroup(cgroup: Option<&Cgroup>, scope: Option<&Scope>) -> Result<(), CliError> {
    if let Some(scope) = scope {
        scope.stop(cgroup_host()?)?;
        return Ok(cgroup.map_or(Ok(()), Cgroup::remove)?);
    }
    let Some(cgroup) = cgroup else { return Ok(()) };
    cgroup.undo()?;
    prune_parent(cgroup.path())
}

/// Removes the parent of cgroups whose place nobody chose (`/corten`, or below a user's own), unless others use it.
fn prune_parent(path: &CgroupPath) -> Result<(), CliError> {
    match path.parent().filter(|parent| parent.to_string().rsplit('/').next() == Some(CGROUP_PARENT)) {
        Some(parent) => Ok(cgroup_host()?.prune(&parent)?),
        None => Ok(()),
    }
}

/// Waits for a killed process to end.
pub(super) fn await_end(id: &ContainerId, pidfd: BorrowedFd<'_>) -> Result<(), CliError> {
    let patience = Timespec { tv_sec: PATIENCE_SECONDS as i64, tv_nsec: 0 };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&patience))) {
        Ok(0) => Err(CliError::StillAlive { id: id.to_string(), seconds: PATIENCE_SECONDS }),
        Ok(_) => Ok(()),
        Err(errno) => Err(sys::Error::new("poll(process)", errno).into()),
    }
}
