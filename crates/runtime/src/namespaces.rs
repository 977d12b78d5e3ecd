// SPDX-License-Identifier: Apache-2.0
//! Making a child in another pid namespace without a second fork.
//!
//! Which pid namespace a process is in is settled when it is made: by what its maker last entered "for children". So
//! the launcher enters the namespace, makes the child, and enters its own again. The child is the launcher's own:
//! it can be waited for, and its pid is the launcher's view of it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use sys::process::{Child, CloneArgs, CloneError, CloneFlags};

use crate::error::LaunchError;
use crate::launch::end;
use crate::prepare::open_namespace;

/// As [`sys::process::clone3`], with the child in the pid namespace of `of` (a namespace's file or a pidfd) when given.
pub(crate) fn clone_in(
    of: Option<BorrowedFd<'_>>,
    args: CloneArgs<'_>,
    child: impl FnOnce() -> i32,
) -> Result<Child, LaunchError> {
    let Some(of) = of else { return Ok(sys::process::clone3(args, child)?) };
    // A thread beside this one would not follow, and could make children of its own meanwhile.
    let threads = sys::process::threads()?;
    if threads != 1 {
        return Err(CloneError::Threads { flags: args.flags, threads }.into());
    }
    let own = open_namespace(Path::new("/proc/self/ns/pid"))?;
    sys::namespace::setns(of, CloneFlags::NEWPID)?;
    let made = sys::process::clone3(args, child).map_err(LaunchError::from);
    let back = sys::namespace::setns(own.as_fd(), CloneFlags::NEWPID);
    match (made, back) {
        (Ok(child), Ok(())) => Ok(child),
        (Ok(child), Err(error)) => Err(LaunchError::from(error).undone(end(&child))),
        (Err(error), back) => Err(error.undone(back)),
    }
}
