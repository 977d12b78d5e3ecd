// SPDX-License-Identifier: Apache-2.0
//! Whose the files are that a thread makes: setfsuid(2) and setfsgid(2), which are the calling thread's alone.

use std::marker::PhantomData;

use rustix::io::Errno;

use crate::capability::{self, Sets};
use crate::error::{Error, Result};

/// The calling thread makes files as somebody else until this is dropped. What it may do stays the same: the capabilities
/// that the kernel takes from root when it is another for files are taken up again.
#[derive(Debug)]
#[must_use = "the thread is itself again when this is dropped"]
pub struct ActingAs {
    before: (libc::uid_t, libc::gid_t),
    sets: Sets,
    /// Whether the process may be looked at by others of its user; the kernel takes that away with each change of ids.
    dumpable: bool,
    /// It must be dropped on the thread that it was made on.
    _thread: PhantomData<*const ()>,
}

/// Makes the calling thread act on files as this user and group.
///
/// # Errors
/// `EPERM` without `CAP_SETUID` or `CAP_SETGID`; the thread is what it was then.
pub fn act_as(uid: u32, gid: u32) -> Result<ActingAs> {
    let (sets, dumpable) = (capability::get()?, is_dumpable());
    let acting = ActingAs { before: (set_user(uid), set_group(gid)), sets, dumpable, _thread: PhantomData };
    // Neither call says whether it succeeded: the next one says who the thread is. An id that is none changes nothing.
    if (set_user(u32::MAX), set_group(u32::MAX)) != (uid, gid) {
        return Err(Error::new(format!("setfsuid({uid}), setfsgid({gid})"), Errno::PERM));
    }
    capability::set(sets)?;
    Ok(acting)
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        let (uid, gid) = self.before;
        set_group(gid);
        set_user(uid);
        // These are the sets that the thread has had all the time, and none is more than it was permitted: the kernel has
        // no reason to refuse them.
        let _ = capability::set(self.sets);
        if self.dumpable {
            // Who opens files of this process by `/proc` may have no other right to than its user.
            set_dumpable();
        }
    }
}

/// `SUID_DUMP_USER` (linux/sched/coredump.h).
const DUMPABLE: libc::c_ulong = 1;

fn is_dumpable() -> bool {
    let none: libc::c_ulong = 0;
    // SAFETY: integers only; a flag of the process is read.
    let state = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, none, none, none, none) };
    libc::c_ulong::try_from(state) == Ok(DUMPABLE)
}

fn set_dumpable() {
    let none: libc::c_ulong = 0;
    // SAFETY: integers only; a flag of the process is set to what it was. The kernel refuses other values than this alone.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, DUMPABLE, none, none, none) };
}

/// Returns who it was.
fn set_user(uid: libc::uid_t) -> libc::uid_t {
    // SAFETY: an integer; the kernel ignores what is no id. The raw call is the calling thread's.
    (unsafe { libc::syscall(libc::SYS_setfsuid, uid) }) as libc::uid_t
}

/// Returns which it was.
fn set_group(gid: libc::gid_t) -> libc::gid_t {
    // SAFETY: as in `set_user`.
    (unsafe { libc::syscall(libc::SYS_setfsgid, gid) }) as libc::gid_t
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_are_somebody_elses_for_as_long_as_it_is_held() {
        if !rustix::process::geteuid().is_root() {
            assert!(act_as(12345, 12345).is_err(), "only root may");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            std::fs::write(directory.path().join(name), "").unwrap();
            let made = std::fs::metadata(directory.path().join(name)).unwrap();
            (made.uid(), made.gid())
        };
        let before = capability::get().unwrap();
        let acting = act_as(12345, 54321).unwrap();
        // Without its capabilities it could not write to root's directory.
        assert_eq!(make("theirs"), (12345, 54321));
        assert_eq!(capability::get().unwrap(), before);
        drop(acting);
        assert!(is_dumpable());
        assert_eq!(make("ours"), (0, 0));
        assert_eq!(capability::get().unwrap(), before);
    }
}
