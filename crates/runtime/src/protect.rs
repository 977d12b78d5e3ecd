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
//!    the kernel, before each launch, whether that is so. Whoever has no right to clone a mount has two other ways: a
//!    binary that is root's and that nobody else may write is out of reach of every id that such a user can give a
//!    container; any other is copied into memory that is sealed against writing, and executed from there.
//! 2. **Another process of the container opens `/proc/N/exe` of ours, or traces it,** while it joins (`exec`) or
//!    shares the pid namespace. The child makes itself non-dumpable before it enters anything, which forbids both
//!    to everyone without `CAP_SYS_PTRACE` over the host; execve undoes it for the container's own program.
//! 3. **A descriptor of the host that the child still has** (CVE-2024-21626): all are closed, not only marked
//!    close-on-exec, before the container's working directory and command are looked up.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{CWD, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use sys::mount::{ATTR_RDONLY, Attributes};

use crate::error::LaunchError;

const SELF: &str = "/proc/self/exe";

/// Whether the running program is out of reach: executed through a read-only mount, from sealed memory, or root's own
/// where this process has no rights of root's to pass on.
///
/// # Errors
/// [`LaunchError::Exposed`] when it is not.
pub fn verify() -> Result<(), LaunchError> {
    /// `ST_RDONLY` and `TMPFS_MAGIC` (statfs(2)).
    const READ_ONLY: u64 = 1;
    const MEMORY: u64 = 0x0102_1994;
    let statfs = rustix::fs::statfs(SELF).map_err(|errno| sys::Error::new(format!("statfs({SELF:?})"), errno))?;
    let read_only = u64::try_from(statfs.f_flags).is_ok_and(|flags| flags & READ_ONLY != 0);
    let in_memory = u64::try_from(statfs.f_type).is_ok_and(|kind| kind == MEMORY);
    if read_only || is_roots_alone()? || (in_memory && is_sealed()?) { Ok(()) } else { Err(LaunchError::Exposed) }
}

/// Whether nobody but the host's root may write to the binary, and this process cannot make anybody that: it has no
/// capability at all. (An access control list that lets others write shows in the mode's group bits, acl(5).)
fn is_roots_alone() -> Result<bool, LaunchError> {
    if sys::capability::get()?.permitted != 0 {
        return Ok(false);
    }
    let stat = rustix::fs::stat(SELF).map_err(|errno| sys::Error::new(format!("stat({SELF:?})"), errno))?;
    Ok(stat.st_uid == 0 && stat.st_mode & 0o022 == 0)
}

/// Whether the binary is memory that nobody can write to any more.
fn is_sealed() -> Result<bool, LaunchError> {
    let program = File::open(SELF).map_err(|error| call(format!("open({SELF:?}, O_RDONLY)"), &error))?;
    Ok(fcntl_get_seals(&program).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

/// Executes the running program once more, with the same arguments and environment, out of a container's reach;
/// returns at once where that is so already. The very first thing that a program does which launches containers
/// itself (`corten zygote`, `corten oci`): before it reads input, makes threads or opens anything.
///
/// # Errors
/// When the kernel refuses.
pub fn reexec() -> Result<(), LaunchError> {
    if verify().is_ok() {
        return Ok(());
    }
    let program = match through_read_only_mount() {
        Err(error) if error.errno() == Errno::PERM => in_sealed_memory()?,
        other => other?,
    };
    Err(execute(program.as_fd()))
}

fn through_read_only_mount() -> sys::Result<OwnedFd> {
    let call = || format!("open_tree(AT_FDCWD, {SELF:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)");
    let program = open_tree(CWD, SELF, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(|errno| sys::Error::new(call(), errno))?;
    sys::mount::setattr(program.as_fd(), false, &Attributes { set: ATTR_RDONLY, ..Attributes::default() })?;
    Ok(program)
}

fn in_sealed_memory() -> Result<OwnedFd, LaunchError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag, and need none.
    let memory = match memfd_create(c"corten", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(c"corten", flags),
        other => other,
    };
    let memory =
        memory.map_err(|errno| sys::Error::new("memfd_create(\"corten\", MFD_CLOEXEC|MFD_ALLOW_SEALING)", errno))?;
    let mut copy = File::from(memory);
    let mut program = File::open(SELF).map_err(|error| call(format!("open({SELF:?}, O_RDONLY)"), &error))?;
    let copied = std::io::copy(&mut program, &mut copy).map_err(|error| call("copy the program".into(), &error))?;
    let size = program.metadata().map_err(|error| call(format!("fstat({SELF:?})"), &error))?.size();
    if copied != size {
        return Err(sys::Error::new(format!("copy the program: {copied} of {size} bytes"), Errno::IO).into());
    }
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&copy, seals)
        .map_err(|errno| sys::Error::new("fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE|GROW|SHRINK|SEAL)", errno))?;
    Ok(copy.into())
}

fn execute(program: BorrowedFd<'_>) -> LaunchError {
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
    sys::exec::execve_fd(program, &arguments, &environment).into()
}

fn call(call: String, error: &std::io::Error) -> LaunchError {
    sys::Error::new(call, Errno::from_io_error(error).unwrap_or(Errno::IO)).into()
}
