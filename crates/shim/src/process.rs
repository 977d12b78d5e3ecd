// SPDX-License-Identifier: Apache-2.0
//! A process that is known for sure: its id and its start time, so that a reused id is never mistaken for it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process id together with what tells it from a later process of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRef {
    /// The process id, as the host sees it.
    pub pid: i32,
    /// When it was started, in clock ticks since the boot: field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)).
    pub start_time: u64,
}

impl ProcessRef {
    /// The process that has `pid` now.
    ///
    /// # Errors
    /// There is none, or `/proc` cannot be read.
    pub fn of(pid: i32) -> io::Result<ProcessRef> {
        // Some 300 bytes of at most some 500 numbers and letters: one read has them all (seq_file fills the buffer).
        let mut stat = [0; 1024];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let length = read(open(format!("/proc/{pid}/stat"), flags, Mode::empty())?, &mut stat)?;
        // A program's name may be no text; what follows it is.
        let start_time = start_time_of(&String::from_utf8_lossy(&stat[..length])).ok_or(io::ErrorKind::InvalidData)?;
        Ok(ProcessRef { pid, start_time })
    }

    /// A descriptor of exactly this process; `None` when it is gone, whoever may have its id now. One that has ended
    /// and was not reaped yet is still there: its descriptor is readable at once.
    ///
    /// # Errors
    /// `pidfd_open` or `/proc` failed for another reason than the process being gone.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        // First the descriptor, then the comparison: whoever the descriptor names is whom the comparison saw.
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        match ProcessRef::of(self.pid) {
            Ok(found) => Ok((found == *self).then_some(pidfd)),
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// Field 22 of a `/proc/<pid>/stat`. The second field is the program's own choice and may hold spaces and brackets,
/// so fields are counted from the last `)`.
fn start_time_of(stat: &str) -> Option<u64> {
    let after_name = stat.get(stat.rfind(')')? + 1..)?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_program_name_does_not_shift_the_fields() {
        let stat = "7 (a) b 9) 9) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0 18446744073709551615";
        assert_eq!(start_time_of(stat), Some(4242));
        assert_eq!(start_time_of("7 (x"), None);
    }

    #[test]
    fn only_the_very_process_is_opened() {
        let me = ProcessRef::of(std::process::id() as i32).unwrap();
        assert!(me.open().unwrap().is_some());
        assert!(ProcessRef { start_time: me.start_time + 1, ..me }.open().unwrap().is_none());
        assert!(ProcessRef { pid: 0, start_time: 1 }.open().unwrap().is_none());
    }
}
