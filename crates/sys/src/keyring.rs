// SPDX-License-Identifier: Apache-2.0
//! Kernel keyrings (keyctl(2)).

use std::ffi::CStr;

use crate::error::{Result, check};

const JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Replaces the session keyring by one called `name` (made when missing), so that the host's keys are out of reach.
pub fn join_session(name: &CStr) -> Result<()> {
    // SAFETY: a string that outlives the call.
    let returned = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr(), 0, 0, 0) };
    check(returned, || format!("keyctl(KEYCTL_JOIN_SESSION_KEYRING, {name:?})")).map(drop)
}
