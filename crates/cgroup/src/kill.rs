// SPDX-License-Identifier: Apache-2.0
//! Freezing, thawing and ending everything in a cgroup.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::group::Member;
use crate::mounts::Version;
use crate::{Cgroup, CgroupError, Controller, control};

/// How long processes may take to stop, or to end: a process in an uninterruptible sleep does neither.
const PATIENCE: Duration = Duration::from_secs(10);

/// SIGKILL.
const KILL: i32 = 9;

impl Cgroup {
    /// Stops all processes, those below the cgroup too, and returns when they stand.
    ///
    /// # Errors
    /// [`CgroupError::Timeout`] when they do not within 10 s (the group is thawed again then).
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let frozen = self.set_frozen(true);
        if frozen.is_err() {
            // Half-frozen is worse than running; the error that is reported is the first.
            drop(self.set_frozen(false));
        }
        frozen
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// As for [`Cgroup::freeze`].
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    /// Whether all processes stand still, stopped by [`Cgroup::freeze`] or by somebody else. A host that cannot freeze has
    /// frozen nothing.
    ///
    /// # Errors
    /// When the kernel's answer cannot be read.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        match self.freezer() {
            // One that was removed meanwhile holds nobody.
            Ok(member) => match self.reads_frozen(member).and_then(|frozen| Ok(frozen || self.is_freezing(member)?)) {
                Err(CgroupError::Read { source, .. }) if control::is_gone(&source) => Ok(false),
                other => other,
            },
            Err(_) => Ok(false),
        }
    }

    /// Sends signal number `signal` to every process in the cgroup and below it, once.
    ///
    /// # Errors
    /// When a process cannot be signalled. One that has ended needs no signal.
    pub fn signal(&self, signal: i32) -> Result<(), CgroupError> {
        for (pid, pidfd) in self.open_processes()? {
            match sys::process::pidfd_send_signal(pidfd.as_fd(), signal) {
                Err(error) if error.errno() != Errno::SRCH => {
                    return Err(CgroupError::Signal { path: self.path().to_string(), pid, source: error.to_io() });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The processes in the cgroup and below it, each held by a descriptor.
    ///
    /// A process id may come to mean another process between the list and its use. So each is opened first and the list
    /// read again: whoever is in both and is held by a descriptor is in the group.
    ///
    /// # Errors
    /// When the kernel's lists cannot be read.
    pub fn open_processes(&self) -> Result<Vec<(i32, OwnedFd)>, CgroupError> {
        let open = |pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?));
        let mut opened: BTreeMap<i32, OwnedFd> = self.processes()?.into_iter().filter_map(open).collect();
        Ok(self.processes()?.into_iter().filter_map(|pid| Some((pid, opened.remove(&pid)?))).collect())
    }

    /// Ends all processes with SIGKILL, those below the cgroup too, frozen or not, and returns when none is left.
    ///
    /// # Errors
    /// [`CgroupError::Timeout`] when some are left after 10 s.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(200);
        // Linux 5.14. The v1 hierarchies are looked at all the same: a process may have joined only some.
        let mut at_once = self.v2().is_some_and(|unified| control::write(&unified.dir, "cgroup.kill", "1").is_ok());
        while !self.processes()?.is_empty() {
            if Instant::now() > deadline {
                return Err(self.timeout("empty"));
            }
            if at_once {
                // They are dying, unless v1's freezer holds them.
                self.thaw_for_kill();
                at_once = false;
            } else {
                self.kill_round()?;
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills what the lists show now. The group is frozen meanwhile, so that a fork bomb cannot outrun it.
    fn kill_round(&self) -> Result<(), CgroupError> {
        // A group that will not freeze (a process in an uninterruptible sleep) must be killed even so.
        drop(self.write_frozen(true));
        let result = self.signal(KILL);
        self.thaw_for_kill();
        result
    }

    /// A frozen process of v1 dies only once thawed. That it could not be thawed shows as a timeout.
    fn thaw_for_kill(&self) {
        drop(self.write_frozen(false));
    }

    fn freezer(&self) -> Result<&Member, CgroupError> {
        self.member(Controller::Freezer)
            .or(self.v2())
            .ok_or(CgroupError::MissingController { controller: Controller::Freezer, limit: "freezing" })
    }

    fn write_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        let member = self.freezer()?;
        let (file, value) = match (member.hierarchy.mount.version, frozen) {
            (Version::V1, true) => ("freezer.state", "FROZEN"),
            (Version::V1, false) => ("freezer.state", "THAWED"),
            (Version::V2, true) => ("cgroup.freeze", "1"),
            (Version::V2, false) => ("cgroup.freeze", "0"),
        };
        control::write(&member.dir, file, value).map_err(|e| self.write_error(file, value, e))
    }

    fn reads_frozen(&self, member: &Member) -> Result<bool, CgroupError> {
        let (file, frozen) = match member.hierarchy.mount.version {
            Version::V1 => ("freezer.state", "FROZEN"),
            Version::V2 => ("cgroup.events", "frozen 1"),
        };
        let text: io::Result<String> = control::read(&member.dir, file);
        let text = text.map_err(|e| self.read_error(file, e))?;
        Ok(text.lines().any(|line| line == frozen))
    }

    /// v1 holds those that stand already while it waits for the rest.
    fn is_freezing(&self, member: &Member) -> Result<bool, CgroupError> {
        if member.hierarchy.mount.version == Version::V2 {
            return Ok(false);
        }
        let text = control::read(&member.dir, "freezer.state").map_err(|e| self.read_error("freezer.state", e))?;
        Ok(text == "FREEZING")
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(100);
        loop {
            // v1 may get stuck on the way when a process forks meanwhile; writing again sets it going.
            self.write_frozen(frozen)?;
            if self.reads_frozen(self.freezer()?)? == frozen {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.timeout(if frozen { "frozen" } else { "thawed" }));
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    fn timeout(&self, state: &'static str) -> CgroupError {
        CgroupError::Timeout { path: self.path().to_string(), state, seconds: PATIENCE.as_secs() }
    }
}
