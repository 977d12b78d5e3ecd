// SPDX-License-Identifier: Apache-2.0
//! Where a container's processes are counted: its cgroup, made by us, or by systemd as a scope.
//!
//! systemd makes a scope only around a process that lives, and the container's first process must be inside before it
//! applies its plan. So a placeholder is put into the scope first: a child that waits to be ended. The container's
//! process is then cloned into the cgroup as into any other, and the placeholder ended.

use std::os::fd::AsFd;

use cgroup::Cgroup;
use cgroup::systemd::Scope;
use oci::ContainerId;
use oci::runtime_spec::Spec;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use sys::process::{Child, CloneArgs, clone3};

use crate::error::LaunchError;
use crate::prepare::{cgroup_host, make_cgroup, resources};

/// SIGKILL.
const KILL: i32 = 9;

/// A container's cgroup, before its first process runs.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) cgroup: Cgroup,
    pub(crate) scope: Option<Scope>,
    placeholder: Option<Placeholder>,
}

impl Place {
    /// Makes the cgroup with its limits; by way of systemd where `systemd` says so.
    pub(crate) fn make(spec: &Spec, id: &ContainerId, systemd: bool) -> Result<Place, LaunchError> {
        if !systemd {
            return Ok(Place { cgroup: make_cgroup(spec, id)?, scope: None, placeholder: None });
        }
        let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
        let path = path.map(|path| path.to_string_lossy());
        let scope = Scope::of(path.as_deref(), id.as_str())?;
        let host = cgroup_host()?;
        let placeholder = Placeholder::start()?;
        let cgroup = scope.start(host, id.as_str(), placeholder.0.pid.unsigned_abs(), resources(spec).as_ref())?;
        Ok(Place { cgroup, scope: Some(scope), placeholder: Some(placeholder) })
    }

    /// The container's process is inside: the placeholder has done its work.
    pub(crate) fn settle(self) -> (Cgroup, Option<Scope>) {
        drop(self.placeholder);
        (self.cgroup, self.scope)
    }

    /// There will be no process. The error that led here is the one to tell; what is left of the cgroup is found by the
    /// next `create`.
    pub(crate) fn undo(self) {
        drop(self.placeholder);
        if let (Some(scope), Ok(host)) = (&self.scope, cgroup_host()) {
            scope.stop(host).unwrap_or_default();
        }
        self.cgroup.remove().unwrap_or_default();
    }
}

/// A process that waits to be ended; dropping this ends it.
#[derive(Debug)]
struct Placeholder(Child);

impl Placeholder {
    fn start() -> Result<Placeholder, LaunchError> {
        let launcher = rustix::process::getpid();
        let wait = || {
            // Should the launcher die before it can end us; it may have died before this takes effect, too. Its pipes and
            // its terminal's signals are none of ours: somebody waits for the end of the ones, and a scope whose only
            // process dies of the others ends.
            let alone = sys::prctl::set_parent_death_signal(Some(KILL))
                .and_then(|()| sys::signal::block_all())
                .and_then(|_| sys::fds::close_from(0));
            while alone.is_ok() && rustix::process::getppid() == Some(launcher) {
                rustix::event::poll(&mut [], None).map(drop).unwrap_or_default();
            }
            1
        };
        Ok(Placeholder(clone3(CloneArgs::default(), wait)?))
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // It is our child and not yet waited for, so the descriptor means it and nobody else.
        let pidfd = self.0.pidfd.as_fd();
        sys::process::pidfd_send_signal(pidfd, KILL).unwrap_or_default();
        rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)).map(drop).unwrap_or_default();
    }
}
