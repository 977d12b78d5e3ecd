// SPDX-License-Identifier: Apache-2.0
//! Being told when a cgroup runs out of memory, as a descriptor to poll: an eventfd registered with v1's memory
//! controller, inotify on v2's `memory.events`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::mounts::Version;
use crate::{Cgroup, CgroupError, Controller, control};

/// Tells when a cgroup runs out of memory. Readable when there may be news; [`OomWatch::news`] says whether there are.
#[derive(Debug)]
pub struct OomWatch<'a> {
    cgroup: &'a Cgroup,
    descriptor: OwnedFd,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// v1. The kernel also signals when the cgroup is removed; the file is held open to keep the registration.
    Eventfd { _oom_control: OwnedFd },
    /// v2, with the number of processes killed so far.
    Inotify { killed: u64 },
}

impl Cgroup {
    /// Asks to be told; `None` where there is no memory controller.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch_oom(&self) -> Result<Option<OomWatch<'_>>, CgroupError> {
        let Some(memory) = self.member(Controller::Memory) else { return Ok(None) };
        let (descriptor, kind) = match memory.hierarchy.mount.version {
            Version::V1 => {
                let oom_control = control::open_read(&memory.dir, "memory.oom_control")
                    .map_err(|error| self.read_error("memory.oom_control", error))?;
                let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                    .map_err(|errno| self.read_error("memory.oom_control", errno.into()))?;
                let registration = format!("{} {}", descriptor.as_raw_fd(), oom_control.as_raw_fd());
                control::write(&memory.dir, "cgroup.event_control", &registration)
                    .map_err(|error| self.write_error("cgroup.event_control", &registration, error))?;
                (descriptor, Kind::Eventfd { _oom_control: oom_control })
            }
            Version::V2 => {
                let failed = |errno: Errno| self.read_error("memory.events", errno.into());
                let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
                let descriptor = inotify::init(flags).map_err(failed)?;
                // By way of the descriptor: the directory may be seen at another path, or none, from here.
                let path = format!("/proc/self/fd/{}/memory.events", memory.dir.as_raw_fd());
                inotify::add_watch(&descriptor, path, inotify::WatchFlags::MODIFY).map_err(failed)?;
                (descriptor, Kind::Inotify { killed: self.oom_kills()? })
            }
        };
        Ok(Some(OomWatch { cgroup: self, descriptor, kind }))
    }
}

impl AsFd for OomWatch<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl OomWatch<'_> {
    /// Whether the cgroup ran out of memory since the last call.
    ///
    /// # Errors
    /// When the descriptor or the counter cannot be read.
    pub fn news(&mut self) -> Result<bool, CgroupError> {
        let mut buffer = [0; 4096];
        let mut any = false;
        loop {
            match rustix::io::read(&self.descriptor, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(_) => any = true,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.cgroup.read_error("memory.events", errno.into())),
            }
        }
        match &mut self.kind {
            // The removal of the cgroup is no want of memory.
            Kind::Eventfd { .. } => Ok(any && self.cgroup.exists()),
            Kind::Inotify { killed } => {
                let before = std::mem::replace(killed, self.cgroup.oom_kills()?);
                Ok(*killed > before)
            }
        }
    }
}

impl Cgroup {
    fn exists(&self) -> bool {
        let Some(memory) = self.member(Controller::Memory) else { return false };
        let gone = |error: &io::Error| control::is_gone(error);
        !control::read(&memory.dir, "memory.usage_in_bytes").is_err_and(|error| gone(&error))
    }
}
