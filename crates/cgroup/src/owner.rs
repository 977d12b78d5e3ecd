// SPDX-License-Identifier: Apache-2.0
//! Giving a cgroup to the user of a container that may make cgroups of its own (runtime specification, config-linux.md,
//! "Cgroup ownership"; cgroups(7), "Cgroup delegation").

use std::io;

use rustix::fs::{AtFlags, Uid, chownat, fchown};

use crate::{Cgroup, CgroupError, control};

/// The files that go with the directory, where the kernel does not list them (before Linux 4.15).
const FILES: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads";

impl Cgroup {
    /// Makes the user `uid` the owner of the directory and of the files that the kernel says may be delegated; of no limit's.
    /// Does nothing where v1 hierarchies are in use: there delegation is not safe.
    ///
    /// # Errors
    /// When the kernel refuses. A file that this cgroup does not have is none.
    pub fn give_to(&self, uid: u32) -> Result<(), CgroupError> {
        let [member] = self.members.as_slice() else { return Ok(()) };
        if self.v2().is_none() {
            return Ok(());
        }
        let failed = |errno: rustix::io::Errno| {
            let (path, source) = (self.path().to_string(), io::Error::from(errno));
            CgroupError::Own { path, uid, source }
        };
        let owner = Some(Uid::from_raw(uid));
        fchown(&member.dir, owner, None).map_err(failed)?;
        let listed = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| FILES.to_owned());
        for file in listed.lines().filter(|file| !file.is_empty() && !file.contains('/')) {
            match chownat(&member.dir, file, owner, None, AtFlags::SYMLINK_NOFOLLOW) {
                Err(errno) if !control::is_gone(&errno.into()) => return Err(failed(errno)),
                _ => {}
            }
        }
        Ok(())
    }
}
