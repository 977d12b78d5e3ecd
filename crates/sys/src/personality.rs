// SPDX-License-Identifier: Apache-2.0
//! The execution domain of the calling process (personality(2)).

use crate::error::{Result, check};

/// The native domain.
pub const LINUX: u32 = 0;
/// A 64-bit kernel that says it is a 32-bit one (uname(2)).
pub const LINUX32: u32 = 0x0008;

/// Sets the execution domain, inherited through execve.
pub fn set(domain: u32) -> Result<()> {
    // SAFETY: an integer; it concerns what the kernel tells programs executed later.
    let returned = unsafe { libc::personality(libc::c_ulong::from(domain)) };
    check(libc::c_long::from(returned), || format!("personality({domain:#x})")).map(drop)
}
