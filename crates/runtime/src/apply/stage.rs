// SPDX-License-Identifier: Apache-2.0
//! The intermediate process: it goes where the container's process cannot go itself, makes that as its sibling, so
//! that it is the launcher's own child, and ends (`plan/namespaces.rs` says when there is one).

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use sys::process::{CloneArgs, CloneFlags};

use super::{Child, StepError};
use crate::message::Question;
use crate::plan::{Operation, TimeOffset};

impl Child<'_> {
    /// Makes the container's process, which does what is left of the plan, and tells the launcher.
    pub(super) fn make_sibling(&mut self) -> Result<(), StepError> {
        let flags = self.prepared.plan.create | CloneFlags::PARENT;
        let prepared = self.prepared;
        let made = sys::process::clone_again(CloneArgs { flags, cgroup: None }, || super::run_sibling(prepared))?;
        self.flush_steps();
        // It waits for the answer. Nothing here does.
        self.put(Question::Adopt { pid: made.pid }).inspect_err(|_| {
            // Nobody else knows of it: the launcher would hear its pipe stay open, and wait too.
            sys::process::pidfd_send_signal(made.pidfd.as_fd(), 9).unwrap_or_default();
        })
    }

    /// What must be opened while `/proc` is the host's and its files belong to the user who this process is.
    pub(super) fn open_early(&mut self, list: &[Operation]) -> Result<(), StepError> {
        if list.iter().any(|operation| matches!(operation, Operation::TimeOffsets(_))) {
            const PATH: &str = "/proc/self/timens_offsets";
            let opened = openat(CWD, PATH, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| sys::Error::new(format!("open({PATH:?}, O_WRONLY|O_CLOEXEC)"), errno))?;
            self.offsets = Some(opened);
        }
        Ok(())
    }

    pub(super) fn time_offsets(&mut self, offsets: &[TimeOffset]) -> Result<(), StepError> {
        sys::namespace::unshare(CloneFlags::NEWTIME)?;
        let file = self.offsets.take().ok_or(StepError::NotProvided { what: "the file of the clocks' offsets" })?;
        let line = |o: &TimeOffset| format!("{} {} {}\n", o.clock, o.seconds, o.nanoseconds);
        let text: String = offsets.iter().map(line).collect();
        rustix::io::write(&file, text.as_bytes())
            .map_err(|errno| sys::Error::new(format!("write(\"/proc/self/timens_offsets\", {text:?})"), errno))?;
        Ok(())
    }

    /// Becomes a user of the user namespace that was entered. All capabilities in it are kept.
    pub(super) fn take_ids(&self, uid: u32, gid: u32) -> Result<(), StepError> {
        set_groups(&[])?;
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_res_gid(group, group, group)
            .map_err(|errno| sys::Error::new(format!("setresgid({gid}, {gid}, {gid})"), errno))?;
        sys::prctl::set_keep_capabilities(true)?;
        set_thread_res_uid(user, user, user)
            .map_err(|errno| sys::Error::new(format!("setresuid({uid}, {uid}, {uid})"), errno))?;
        if uid != 0 {
            let mut sets = sys::capability::get()?;
            sets.effective = sets.permitted;
            sys::capability::set(sets)?;
        }
        // What the change of ids made of it depends on a setting of the host's (`fs.suid_dumpable`).
        sys::prctl::set_dumpable(false)?;
        Ok(())
    }
}

/// Sets the supplementary groups. A user namespace may forbid that for good (user_namespaces(7)), because its maker could
/// otherwise get rid of a group that is denied something: having none to set is then no error.
pub(super) fn set_groups(groups: &[u32]) -> Result<(), StepError> {
    let list: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    match set_thread_groups(&list) {
        Err(Errno::PERM) if groups.is_empty() => Ok(()),
        Err(errno) => Err(sys::Error::new(format!("setgroups({groups:?})"), errno).into()),
        Ok(()) => Ok(()),
    }
}
