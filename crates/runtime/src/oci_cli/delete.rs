// SPDX-License-Identifier: Apache-2.0
//! `delete`: removes what is left of a container, its cgroup and its directory.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};

use cgroup::{Cgroup, CgroupPath};
use oci::ContainerId;
use oci::runtime_spec::ContainerState;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Context;
use super::error::CliError;
use super::flags::{Flag, Flags};
use super::store::Entry;

/// How long a killed process may take to end; one that waits for a dead disk takes longer than anybody would.
const PATIENCE_SECONDS: u64 = 10;

pub(super) fn delete(context: &Context, args: Vec<OsString>) -> Result<u8, CliError> {
    let flags = Flags::read(args, &[Flag::switch("force").short('f')])?;
    let id = flags.id()?;
    let force = flags.switch("force");
    let (entry, record) = match context.store.find(&id) {
        // What is to be gone is gone: as good.
        Err(CliError::NotFound { .. }) if force => {
            // What an aborted `create` left, which would keep the id from everybody.
            context.store.forget(&id)?;
            return Ok(0);
        }
        other => other?,
    };
    let status = entry.status(&record);
    if status != ContainerState::Stopped && !force {
        return Err(CliError::State { id: id.to_string(), status, action: "delete", expected: "stopped" });
    }
    let cgroup = record.cgroup()?;
    if let Some(pidfd) = record.pidfd() {
        sys::process::pidfd_send_signal(pidfd.as_fd(), 9)?;
        await_end(&id, pidfd.as_fd())?;
    }
    match cgroup {
        Some(cgroup) => {
            // Without a pid namespace of its own, a container's processes outlive its first.
            if force && !cgroup.processes()?.is_empty() {
                cgroup.kill()?;
            }
            clean(&entry, &cgroup)?;
        }
        None => {
            prune_parents(&record.cgroup_path()?)?;
            entry.remove()?;
        }
    }
    Ok(0)
}

/// Removes the cgroup, and its parents (`/corten`) unless others use them, then the directory: while the directory is
/// there, the cgroup can be found.
pub(super) fn clean(entry: &Entry, cgroup: &Cgroup) -> Result<(), CliError> {
    cgroup.remove()?;
    prune_parents(cgroup.path())?;
    entry.remove()
}

fn prune_parents(path: &CgroupPath) -> Result<(), CliError> {
    let mut parent = path.parent();
    while let Some(path) = parent {
        crate::prepare::cgroup_host()?.prune(&path)?;
        parent = path.parent();
    }
    Ok(())
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
