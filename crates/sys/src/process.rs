// SPDX-License-Identifier: Apache-2.0
//! Making a child process: clone3(2) with a pidfd, namespaces and a cgroup.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

use crate::error::{Error, Result};

/// Flags of clone3(2), unshare(2) and setns(2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CloneFlags(u64);

impl CloneFlags {
    /// A new mount namespace.
    pub const NEWNS: CloneFlags = CloneFlags(libc::CLONE_NEWNS as u64);
    /// A new cgroup namespace.
    pub const NEWCGROUP: CloneFlags = CloneFlags(libc::CLONE_NEWCGROUP as u64);
    /// A new UTS namespace.
    pub const NEWUTS: CloneFlags = CloneFlags(libc::CLONE_NEWUTS as u64);
    /// A new IPC namespace.
    pub const NEWIPC: CloneFlags = CloneFlags(libc::CLONE_NEWIPC as u64);
    /// A new user namespace.
    pub const NEWUSER: CloneFlags = CloneFlags(libc::CLONE_NEWUSER as u64);
    /// A new pid namespace.
    pub const NEWPID: CloneFlags = CloneFlags(libc::CLONE_NEWPID as u64);
    /// A new network namespace.
    pub const NEWNET: CloneFlags = CloneFlags(libc::CLONE_NEWNET as u64);
    /// A new time namespace. In clone(2), the bit means something else.
    pub const NEWTIME: CloneFlags = CloneFlags(0x80);
    /// The child's parent is the caller's parent.
    pub const PARENT: CloneFlags = CloneFlags(libc::CLONE_PARENT as u64);

    const NAMES: [(CloneFlags, &'static str); 10] = [
        (CloneFlags::NEWNS, "CLONE_NEWNS"),
        (CloneFlags::NEWCGROUP, "CLONE_NEWCGROUP"),
        (CloneFlags::NEWUTS, "CLONE_NEWUTS"),
        (CloneFlags::NEWIPC, "CLONE_NEWIPC"),
        (CloneFlags::NEWUSER, "CLONE_NEWUSER"),
        (CloneFlags::NEWPID, "CLONE_NEWPID"),
        (CloneFlags::NEWNET, "CLONE_NEWNET"),
        (CloneFlags::NEWTIME, "CLONE_NEWTIME"),
        (CloneFlags::NEWTIME, "CLONE_NEWTIME"),
        (CloneFlags::PARENT, "CLONE_PARENT"),
    ];

    /// No flag.
    pub const fn empty() -> CloneFlags {
        CloneFlags(0)
    }

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: CloneFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags without those of `other`.
    #[must_use]
    pub const fn without(self, other: CloneFlags) -> CloneFlags {
        CloneFlags(self.0 & !other.0)
    }

    /// The kernel's number.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl BitOr for CloneFlags {
    type Output = CloneFlags;
    fn bitor(self, other: CloneFlags) -> CloneFlags {
        CloneFlags(self.0 | other.0)
    }
}

impl BitOrAssign for CloneFlags {
    fn bitor_assign(&mut self, other: CloneFlags) {
        self.0 |= other.0;
    }
}

impl fmt::Display for CloneFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (flag, name) in CloneFlags::NAMES {
            if self.contains(flag) {
                write!(f, "{}{name}", if first { "" } else { "|" })?;
                first = false;
            }
        }
        if first { f.write_str("0") } else { Ok(()) }
    }
}

impl fmt::Debug for CloneFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `CLONE_INTO_CGROUP`: beyond 32 bits, so clone3 only; the libc crate's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How a child is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneArgs<'a> {
    /// New namespaces, and `PARENT`.
    pub flags: CloneFlags,
    /// A cgroup v2 directory in which the child is born (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A child process.
#[derive(Debug)]
pub struct Child {
    /// Its pid, as the caller's pid namespace sees it.
    pub pid: i32,
    /// A descriptor of it, close-on-exec.
    pub pidfd: OwnedFd,
}

/// Why no child was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloneError {
    /// The caller has other threads. A child made here could find a lock (the allocator's, for one) taken by a thread
    /// that does not exist in it, and hang.
    #[error("clone3({{flags={flags}}}): the calling process has {threads} threads and must have one")]
    Threads {
        /// What was asked for.
        flags: CloneFlags,
        /// How many threads there are.
        threads: u64,
    },
    /// The kernel said no.
    #[error(transparent)]
    Call(#[from] Error),
}

/// How many threads the calling process has: `/proc/self/task` has a link for itself, its parent and each thread.
pub fn threads() -> Result<u64> {
    let stat = rustix::fs::stat("/proc/self/task").map_err(|errno| Error::new("stat(\"/proc/self/task\")", errno))?;
    // The width of st_nlink differs between architectures.
    #[allow(clippy::useless_conversion)]
    let links = u64::from(stat.st_nlink);
    Ok(links.saturating_sub(2))
}

/// Makes a child process that runs `child` in a copy of the caller's memory and exits with what it returns
/// (a panic: 101). `child` normally ends in an execve(2).
///
/// # Errors
/// [`CloneError::Threads`] when the caller is not single-threaded; the kernel's refusal otherwise (clone3(2)).
pub fn clone3(args: CloneArgs<'_>, child: impl FnOnce() -> i32) -> std::result::Result<Child, CloneError> {
    let threads = threads()?;
    if threads != 1 {
        return Err(CloneError::Threads { flags: args.flags, threads });
    }
    clone_again(args, child)
}

/// As [`clone3`], for a process that has one thread for sure, because [`clone3`] made it and it made none: what says so
/// is procfs, and that may be another one by now. Where a system call filter says that clone3(2) does not exist, a child
/// without namespaces is made by clone(2).
///
/// # Errors
/// [`CloneError::Call`]: the kernel's refusal.
pub fn clone_again(args: CloneArgs<'_>, child: impl FnOnce() -> i32) -> std::result::Result<Child, CloneError> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: `clone_args` is a plain struct of integers, for which all-zero is the kernel's default.
    let mut kernel_args: libc::clone_args = unsafe { std::mem::zeroed() };
    kernel_args.flags = args.flags.bits() | libc::CLONE_PIDFD as u64;
    kernel_args.pidfd = &raw mut pidfd as u64;
    // With CLONE_PARENT the child inherits the caller's own exit signal, and the kernel insists on 0 here.
    kernel_args.exit_signal = if args.flags.contains(CloneFlags::PARENT) { 0 } else { libc::SIGCHLD as u64 };
    if let Some(cgroup) = args.cgroup {
        kernel_args.flags |= CLONE_INTO_CGROUP;
        kernel_args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: neither CLONE_VM nor a new stack: the child continues on a copy of this stack, as after fork(2). The
    // process has one thread (see above), so no lock of the C library or of Rust can be held by another. The
    // arguments live until the call returns. The raw call leaves the C library's cached thread id at the parent's
    // value; nothing called before the execve or _exit that ends the child reads it (rustix calls the kernel).
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut kernel_args, size_of::<libc::clone_args>()) };
    if pid < 0 && args.flags.is_empty() && args.cgroup.is_none() && Error::last("clone3").errno() == Errno::NOSYS {
        let flags = libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the same by the older call: no new stack, and the descriptor where clone(2) with CLONE_PIDFD puts it.
        pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    }
    match pid {
        0 => {
            // The unwinding must not cross into the copy of the caller's frames.
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
            // SAFETY: ends the process without running the parent's exit handlers, which are not the child's to run.
            unsafe { libc::_exit(code) }
        }
        pid if pid > 0 => {
            // SAFETY: CLONE_PIDFD stored a new descriptor there, owned by nobody else.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            // The kernel's pid_t fits in an i32.
            Ok(Child { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd })
        }
        _ => {
            let cgroup = args.cgroup.map(|fd| format!(", cgroup={}", fd.as_raw_fd())).unwrap_or_default();
            let signal = if args.flags.contains(CloneFlags::PARENT) { "0" } else { "SIGCHLD" };
            let call = format!("clone3({{flags=CLONE_PIDFD|{}, exit_signal={signal}{cgroup}}})", args.flags);
            Err(Error::last(call).into())
        }
    }
}

/// As [`clone_again`] with no namespaces, for a process that may be under a system call filter: asks the kernel whether
/// there are other threads, where it may.
///
/// # Errors
/// [`CloneError::Threads`] when the kernel says that there are others; its refusal otherwise.
pub fn clone_plain(child: impl FnOnce() -> i32) -> std::result::Result<Child, CloneError> {
    // SAFETY: CLONE_THREAD changes nothing; the kernel refuses it (EINVAL) to a process with more than one thread.
    let alone = unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_THREAD) };
    let refused = (alone < 0).then(|| Error::last("unshare(CLONE_THREAD)").errno());
    if refused == Some(Errno::INVAL) {
        return Err(CloneError::Threads { flags: CloneFlags::empty(), threads: 2 });
    }
    clone_again(CloneArgs::default(), child)
}

/// Opens a descriptor of process `pid` (pidfd_open(2)), close-on-exec.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    let call = || format!("pidfd_open({pid}, 0)");
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| Error::new(call(), Errno::INVAL))?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).map_err(|errno| Error::new(call(), errno))
}

/// Sends signal number `signal` to a process that is known for sure: a child that was not reaped yet (kill(2)).
pub fn kill(pid: rustix::process::Pid, signal: i32) -> Result<()> {
    let pid = pid.as_raw_nonzero().get();
    // SAFETY: two integers; a number that is no signal is refused by the call.
    let returned = unsafe { libc::kill(pid, signal) };
    crate::error::check(libc::c_long::from(returned), || format!("kill({pid}, {signal})")).map(drop)
}

/// Sends signal number `signal` to the process behind `pidfd` (pidfd_send_signal(2)); 0 only asks whether it lives.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: integers and a null siginfo, which the call allows.
    let returned = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    crate::error::check(returned, || format!("pidfd_send_signal({}, {signal}, NULL, 0)", pidfd.as_raw_fd())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_to_clone_a_process_with_threads() {
        // The test harness runs this in a thread of its own, so there are at least two.
        let result = clone3(CloneArgs::default(), || 0);
        assert!(matches!(result, Err(CloneError::Threads { threads, .. }) if threads >= 2));
    }

    #[test]
    fn flags_print_as_their_names() {
        assert_eq!((CloneFlags::NEWPID | CloneFlags::NEWNS).to_string(), "CLONE_NEWNS|CLONE_NEWPID");
        assert_eq!(CloneFlags::empty().to_string(), "0");
    }
}
