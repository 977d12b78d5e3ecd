// SPDX-License-Identifier: Apache-2.0
//! Where a container's processes are counted: its cgroup, made by us, or by systemd as a scope.
//!
//! systemd makes a scope only around a process that lives, and the container's first process must be inside before it
//! applies its plan. So a placeholder is put into the scope first: a child that waits to be ended. The container's
//! process is then cloned into the cgroup as into any other, and the placeholder ended.

use std::os::fd::AsFd;
use std::path::Path;

use cgroup::Cgroup;
use cgroup::systemd::{Scope, Wish};
use oci::ContainerId;
use oci::runtime_spec::{LinuxNamespaceType, Mount, Spec};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use sys::process::{Child, CloneArgs, clone3};

use crate::error::LaunchError;
use crate::prepare::{cgroup_host, make_cgroup, resources};
use crate::rootless;

/// SIGKILL.
const KILL: i32 = 9;

/// SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU.
const TERMINAL_SIGNALS: [i32; 6] = [1, 2, 3, 20, 21, 22];

/// A container's cgroup, before its first process runs.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) cgroup: Cgroup,
    pub(crate) scope: Option<Scope>,
    placeholder: Option<Placeholder>,
    /// Why there is none, where that is acceptable.
    warning: Option<String>,
}

impl Place {
    /// Makes the cgroup with its limits; by way of systemd where `systemd` says so. With `rootless`, not being allowed to
    /// is a warning, unless a limit is asked for. One that was made `ahead` is taken where it would be made.
    pub(crate) fn make(
        spec: &Spec,
        id: &ContainerId,
        systemd: bool,
        rootless: bool,
        ahead: &mut Option<Cgroup>,
    ) -> Result<Place, LaunchError> {
        let place = if systemd {
            Place::make_scope(spec, id)?
        } else {
            let (cgroup, warning) =
                if rootless { rootless::make_cgroup(spec, id)? } else { (make_cgroup(spec, id, ahead)?, None) };
            Place { cgroup, scope: None, placeholder: None, warning }
        };
        let given = owner(spec).map_or(Ok(()), |uid| place.cgroup.give_to(uid));
        if let Err(error) = given {
            return Err(LaunchError::Cgroup(error).undone(place.undo()));
        }
        Ok(place)
    }

    fn make_scope(spec: &Spec, id: &ContainerId) -> Result<Place, LaunchError> {
        let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
        let path = path.map(|path| path.to_string_lossy());
        let scope = Scope::of(path.as_deref(), id.as_str())?;
        let host = cgroup_host()?;
        let placeholder = Placeholder::start()?;
        let resources = resources(spec);
        let wish = Wish { id: id.as_str(), resources: resources.as_ref(), annotations: spec.annotations().as_ref() };
        let cgroup = scope.start(host, &wish, placeholder.0.pid.unsigned_abs())?;
        Ok(Place { cgroup, scope: Some(scope), placeholder: Some(placeholder), warning: None })
    }

    /// The container's process is inside: the placeholder has done its work. What there is, and what there is not though
    /// it was asked for.
    pub(crate) fn settle(self, spec: &Spec) -> (Cgroup, Option<Scope>, Vec<String>) {
        drop(self.placeholder);
        let limits = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let ignored = limits.map_or_else(Vec::new, |limits| self.cgroup.limits_without_meaning(limits));
        let ignored = ignored.into_iter().map(|limit| format!("{limit} has no meaning on this host and is ignored"));
        (self.cgroup, self.scope, self.warning.into_iter().chain(ignored).collect())
    }

    /// There will be no process.
    pub(crate) fn undo(self) -> Result<(), LaunchError> {
        drop(self.placeholder);
        let stopped = match &self.scope {
            Some(scope) => cgroup_host().and_then(|host| Ok(scope.stop(host)?)),
            None => Ok(()),
        };
        let removed = self.cgroup.undo().map_err(LaunchError::Cgroup);
        stopped.and(removed)
    }
}

/// The host's user who is to own the cgroup: the container's, where it sees its own cgroups and may write to them
/// (runtime specification, "Cgroup ownership"). Nobody, where that is root anyway.
fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let namespaces = linux.namespaces().as_ref()?;
    let own = |kind| namespaces.iter().any(|n| n.typ() == kind && n.path().is_none());
    let writable = |mount: &Mount| {
        mount.source().as_deref() == Some(Path::new("cgroup"))
            && mount.destination() == Path::new("/sys/fs/cgroup")
            && !mount.options().iter().flatten().any(|option| option == "ro")
    };
    if !own(LinuxNamespaceType::Cgroup) || !spec.mounts().iter().flatten().any(writable) {
        return None;
    }
    let user = spec.process().as_ref().map_or(0, |process| process.user().uid());
    // One that is joined has these mappings as well, if they are said.
    let joined = namespaces.iter().any(|n| n.typ() == LinuxNamespaceType::User);
    let says = linux.uid_mappings().as_ref().is_some_and(|mappings| !mappings.is_empty());
    let uid = if own(LinuxNamespaceType::User) || (joined && says) {
        let mappings = linux.uid_mappings().iter().flatten();
        mappings.into_iter().find_map(|mapping| {
            let offset = user.checked_sub(mapping.container_id())?;
            if offset < mapping.size() { mapping.host_id().checked_add(offset) } else { None }
        })?
    } else {
        user
    };
    (uid != 0).then_some(uid)
}

/// A process that waits to be ended; dropping this ends it.
#[derive(Debug)]
struct Placeholder(Child);

impl Placeholder {
    fn start() -> Result<Placeholder, LaunchError> {
        let launcher = rustix::process::getpid();
        let wait = || {
            // Should the launcher die before it can end us; it may have died before this takes effect, too. The launcher's
            // pipes are none of ours, for somebody waits for their end, and neither are its terminal's signals, of which
            // a scope's only process shall not die. It shall die of SIGTERM, though: that is how systemd stops a scope.
            let alone = sys::prctl::set_parent_death_signal(Some(KILL))
                .and_then(|()| sys::signal::unblock_all())
                .and_then(|_| sys::signal::block(&TERMINAL_SIGNALS))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn owner_of(change: impl FnOnce(&mut Value)) -> Option<u32> {
        let mut spec = json!({ "ociVersion": "1.2.0",
            "process": { "cwd": "/", "user": { "uid": 1000, "gid": 0 } },
            "mounts": [{ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"] }],
            "linux": { "namespaces": [{ "type": "cgroup" }] } });
        change(&mut spec);
        owner(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn the_containers_user_owns_a_cgroup_that_it_may_write_to() {
        assert_eq!(owner_of(|_| {}), Some(1000));
        assert_eq!(owner_of(|spec| spec["process"]["user"]["uid"] = json!(0)), None);
        assert_eq!(owner_of(|spec| spec["mounts"][0]["options"] = json!(["ro"])), None);
        assert_eq!(owner_of(|spec| spec["linux"]["namespaces"] = json!([])), None);
        assert_eq!(owner_of(|spec| spec["linux"]["namespaces"][0]["path"] = json!("/proc/1/ns/cgroup")), None);
        let mapped = |spec: &mut Value| {
            spec["linux"]["namespaces"] = json!([{ "type": "cgroup" }, { "type": "user" }]);
            spec["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        };
        assert_eq!(owner_of(mapped), Some(101_000));
    }
}
