// SPDX-License-Identifier: Apache-2.0
//! Entering and leaving namespaces: setns(2) and unshare(2) on the calling thread. And holding them.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{Error, Result, check};
use crate::process::CloneFlags;

/// Moves the calling thread into namespaces. `target` is a namespace's file (then `kinds` has one flag, or none to
/// accept any kind) or, since Linux 5.8, a pidfd (then `kinds` says which of that process's namespaces).
///
/// `NEWPID` and `NEWTIME` only concern children made later. `NEWNS` needs a thread that shares its root and working
/// directory with no other, and moves both to the namespace's root.
pub fn setns(target: BorrowedFd<'_>, kinds: CloneFlags) -> Result<()> {
    // SAFETY: an open descriptor and flags. The thread's view of files changes, no memory does.
    let returned = unsafe { libc::syscall(libc::SYS_setns, target.as_raw_fd(), kinds.bits() as libc::c_int) };
    check(returned, || format!("setns({}, {kinds})", target.as_raw_fd())).map(drop)
}

/// Moves the calling thread into new namespaces.
pub fn unshare(kinds: CloneFlags) -> Result<()> {
    // SAFETY: namespace flags only (no CLONE_FILES, no CLONE_VM): the thread keeps its descriptors and its memory.
    let returned = unsafe { libc::syscall(libc::SYS_unshare, kinds.bits() as libc::c_int) };
    check(returned, || format!("unshare({kinds})")).map(drop)
}

/// The file of a namespace of the process behind a pidfd, as `/proc/PID/ns/` has it (linux/pidfd.h): whoever holds it keeps the
/// namespace. Of the mount and the IPC namespace; since Linux 6.11.
pub fn of_process(process: BorrowedFd<'_>, kind: CloneFlags) -> Result<OwnedFd> {
    // `_IO(PIDFS_IOCTL_MAGIC, …)`.
    let request = match kind {
        CloneFlags::NEWIPC => 0xff02,
        CloneFlags::NEWNS => 0xff03,
        _ => return Err(Error::new(format!("ask a pidfd for its namespace of kind {kind}"), Errno::INVAL)),
    };
    let number = process.as_raw_fd();
    // SAFETY: an open descriptor and a request that takes no memory: its argument must be 0.
    let returned = unsafe { libc::ioctl(number, request, 0) };
    check(i64::from(returned), || format!("ioctl({number}, PIDFD_GET_…_NAMESPACE, {kind})"))?;
    // SAFETY: the kernel has just made this descriptor for the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(returned) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::linux::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_namespace_of_a_process_is_the_one_that_procfs_has() {
        let process = crate::process::pidfd_open(std::process::id().cast_signed()).unwrap();
        for (kind, name) in [(CloneFlags::NEWNS, "mnt"), (CloneFlags::NEWIPC, "ipc")] {
            match of_process(process.as_fd(), kind) {
                Ok(found) => {
                    let found = std::fs::File::from(found).metadata().unwrap().st_ino();
                    let known = std::fs::metadata(format!("/proc/self/ns/{name}")).unwrap().st_ino();
                    assert_eq!(found, known, "{name}");
                }
                // A kernel before 6.11.
                Err(error) => assert!(matches!(error.errno(), Errno::NOTTY | Errno::INVAL), "{error}"),
            }
        }
        assert_eq!(of_process(process.as_fd(), CloneFlags::NEWNET).unwrap_err().errno(), Errno::INVAL);
    }
}
