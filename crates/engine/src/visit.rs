// SPDX-License-Identifier: Apache-2.0
//! Visits to the mount namespaces of running containers, each by a thread that ends there. Nothing of a container's is
//! executed in it.

use std::os::fd::{AsFd as _, OwnedFd};

use sys::process::CloneFlags;

use crate::answer;
use crate::container::Running;
use crate::error::EngineError;
use crate::signal::pidfd;

/// What is asked on a visit.
const ABOUT: &str = "what is mounted in the container";

/// Looks at something where a container's mounts are what is seen; `None` when it has just ended.
///
/// # Errors
/// What is looked at does not answer.
pub(crate) fn mounts<T: Send + 'static>(
    running: &Running,
    look: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<Option<T>, EngineError> {
    let Some(process) = pidfd(running)? else { return Ok(None) };
    answer::in_time(ABOUT, move || enter(&process)?.then(look).transpose())?
}

/// Looks there, and when what is looked at has answered does `work` there.
///
/// # Errors
/// There was no answer. Nothing was done then, nor will be.
pub(crate) fn mounts_then<T: Send + 'static>(
    running: &Running,
    look: impl FnOnce() + Send + 'static,
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<Option<T>, EngineError> {
    let Some(process) = pidfd(running)? else { return Ok(None) };
    let ask = move || {
        let entered = enter(&process)?;
        if entered {
            look();
        }
        Ok(entered)
    };
    answer::in_time_then(ABOUT, ask, |entered: Result<bool, EngineError>| entered?.then(work).transpose())?
}

/// Enters the mount namespace of a process, and stays there. `false` when it has ended.
fn enter(process: &OwnedFd) -> Result<bool, EngineError> {
    // A mount namespace can be entered by who shares root and working directory with nobody; asking for a new one sees to
    // that.
    sys::namespace::unshare(CloneFlags::NEWNS).map_err(EngineError::Namespace)?;
    match sys::namespace::setns(process.as_fd(), CloneFlags::NEWNS) {
        Ok(()) => Ok(true),
        // Its shim has not been told yet.
        Err(error) if error.errno() == rustix::io::Errno::SRCH => Ok(false),
        Err(error) => Err(EngineError::Namespace(error)),
    }
}
