// SPDX-License-Identifier: Apache-2.0
//! Entering and leaving namespaces: setns(2) and unshare(2) on the calling thread.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Result, check};
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
