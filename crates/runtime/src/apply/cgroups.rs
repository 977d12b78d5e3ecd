// SPDX-License-Identifier: Apache-2.0
//! Entering a v1 cgroup: the process itself writes to each hierarchy's `tasks`. From outside, or through
//! `cgroup.procs`, the kernel would wait for a grace period of many milliseconds.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

use super::StepError;

pub(super) fn join(tasks: &[OwnedFd]) -> Result<(), StepError> {
    for file in tasks {
        rustix::io::write(file, b"0").map_err(|errno| {
            let call = sys::Error::new(format!("write({}, \"0\") to the tasks of a cgroup", file.as_raw_fd()), errno);
            match errno {
                // A new cgroup has none of it, and the kernel says no more than that.
                Errno::INVAL if sys::scheduling::has_realtime_policy() => StepError::NoRealtime(call),
                _ => StepError::Call(call),
            }
        })?;
    }
    Ok(())
}
