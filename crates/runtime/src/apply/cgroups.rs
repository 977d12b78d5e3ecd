// SPDX-License-Identifier: Apache-2.0
//! Entering a v1 cgroup: the process itself writes to each hierarchy's `tasks`. From outside, or through
//! `cgroup.procs`, the kernel would wait for a grace period of many milliseconds.

use std::os::fd::{AsRawFd, OwnedFd};

use super::StepError;

pub(super) fn join(tasks: &[OwnedFd]) -> Result<(), StepError> {
    for file in tasks {
        rustix::io::write(file, b"0").map_err(|errno| {
            sys::Error::new(format!("write({}, \"0\") to the tasks of a cgroup", file.as_raw_fd()), errno)
        })?;
    }
    Ok(())
}
