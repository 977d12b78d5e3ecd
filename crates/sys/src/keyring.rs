// SPDX-License-Identifier: Apache-2.0
//! Kernel keyrings (keyctl(2)).

use crate::error::{Result, check};

const JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Replaces the session keyring by a new one without a name, so that the host's keys are out of reach.
pub fn join_new_session() -> Result<()> {
    // SAFETY: a null name, which the call allows.
    let returned =
        unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>(), 0, 0, 0) };
    check(returned, || "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)".into()).map(drop)
}
