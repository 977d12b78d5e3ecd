// SPDX-License-Identifier: Apache-2.0
//! Why a container cannot reach the program that started it (the class of CVE-2019-5736).
//!
//! Until it calls execve, a container's process *is* our program: `/proc/self/exe` inside the container names our
//! binary on the host's file system, and root inside may be root outside. Three roads lead there, each closed:
//!
//! 1. **An image's command is `/proc/self/exe`, or a script whose interpreter is.** The kernel resolves it while the
//!    process is still ours, and executes our binary inside the container, where another process then opens it
//!    through `/proc/N/exe` and writes to it once nothing runs it. No check beforehand helps (the script may change
//!    in between), a process may always resolve its own link, and since Linux 6.11 (until 6.13) not even ETXTBSY
//!    stands in the way. What helps is that the *mount* through which our program was executed is read-only: whatever
//!    is opened through the link is opened through that mount, and writing fails with EROFS. So a program that
//!    launches containers executes itself once more through a detached, read-only clone of its own binary's mount
//!    ([`reexec`]). Being detached, no mount namespace contains it, so no container can remount it. [`verify`] asks
//!    the kernel, before each launch, whether that is so.
//! 2. **Another process of the container opens `/proc/N/exe` of ours, or traces it,** while it joins (`exec`) or
//!    shares the pid namespace. The child makes itself non-dumpable before it enters anything, which forbids both
//!    to everyone without `CAP_SYS_PTRACE` over the host; execve undoes it for the container's own program.
//! 3. **A descriptor of the host that the child still has** (CVE-2024-21626): all are closed, not only marked
//!    close-on-exec, before the container's working directory and command are looked up.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use sys::mount::{ATTR_RDONLY, Attributes};

use crate::error::LaunchError;

const SELF: &str = "/proc/self/exe";

/// Whether the running program was executed through a read-only mount.
///
/// # Errors
/// [`LaunchError::Exposed`] when it was not.
pub fn verify() -> Result<(), LaunchError> {
    let statvfs = rustix::fs::statvfs(SELF).map_err(|errno| sys::Error::new(format!("statfs({SELF:?})"), errno))?;
    if statvfs.f_flag.contains(StatVfsMountFlags::RDONLY) { Ok(()) } else { Err(LaunchError::Exposed) }
}

/// Executes the running program once more, with the same arguments and environment, through a read-only mount;
/// returns at once where that is so already. The very first thing that a program does which launches containers
/// itself (`corten zygote`, `corten oci`): before it reads input, makes threads or opens anything.
///
/// # Errors
/// When the kernel refuses (it needs `CAP_SYS_ADMIN`).
pub fn reexec() -> Result<(), LaunchError> {
    if verify().is_ok() {
        return Ok(());
    }
    let call = || format!("open_tree(AT_FDCWD, {SELF:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)");
    let program = open_tree(CWD, SELF, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(|errno| sys::Error::new(call(), errno))?;
    sys::mount::setattr(program.as_fd(), false, &Attributes { set: ATTR_RDONLY, ..Attributes::default() })?;
    let arguments = std::env::args_os().map(|argument| argument.into_vec()).collect::<Vec<_>>();
    let environment = std::env::vars_os().map(|(name, value)| {
        let mut variable = name.into_vec();
        variable.push(b'=');
        variable.extend(value.into_vec());
        variable
    });
    // Neither can hold a NUL byte: the kernel gave them to us as C strings.
    let list = |strings: Vec<Vec<u8>>| strings.into_iter().filter_map(|string| CString::new(string).ok()).collect();
    let arguments = sys::exec::StringList::new(list(arguments));
    let environment = sys::exec::StringList::new(list(environment.collect()));
    Err(sys::exec::execve_fd(program.as_fd(), &arguments, &environment).into())
}
