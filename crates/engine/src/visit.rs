// SPDX-License-Identifier: Apache-2.0
//! Visits to the mount namespaces of running containers, each by a thread that ends there. Nothing of a container's is
//! executed in it.

use std::os::fd::AsFd as _;

use sys::process::CloneFlags;

use crate::container::Running;
use crate::error::EngineError;
use crate::signal::pidfd;

/// Does `work` where a container's mounts are what is seen; `None` when it has just ended.
pub(crate) fn mounts<T: Send + 'static>(
    running: &Running,
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<Option<T>, EngineError> {
    let Some(process) = pidfd(running)? else { return Ok(None) };
    let visit = move || -> Result<Option<T>, EngineError> {
        // A mount namespace can be entered by who shares root and working directory with nobody; asking for a new one
        // sees to that.
        sys::namespace::unshare(CloneFlags::NEWNS).map_err(EngineError::Namespace)?;
        match sys::namespace::setns(process.as_fd(), CloneFlags::NEWNS) {
            Ok(()) => work().map(Some),
            // It has ended, and its shim has not been told yet.
            Err(error) if error.errno() == rustix::io::Errno::SRCH => Ok(None),
            Err(error) => Err(EngineError::Namespace(error)),
        }
    };
    let thread = std::thread::Builder::new().name("visit".to_owned()).spawn(visit);
    let thread = thread.map_err(EngineError::io("start a thread in", "/proc/self/task"))?;
    thread.join().map_err(|_| EngineError::Worker("look into a container"))?
}
