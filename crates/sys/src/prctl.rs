// SPDX-License-Identifier: Apache-2.0
//! Attributes of the calling process and thread (prctl(2)).

use std::ffi::CStr;

use crate::error::{Result, check};

fn prctl(option: libc::c_int, argument: libc::c_ulong, call: impl FnOnce() -> String) -> Result<libc::c_long> {
    // SAFETY: every option used in this file takes an integer, or the pointer to a string that its caller keeps
    // alive during the call; none changes memory of this process.
    let returned = unsafe { libc::prctl(option, argument, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong) };
    check(libc::c_long::from(returned), call)
}

/// Gives up gaining privileges by execve (set-user-ID, file capabilities), for good (`PR_SET_NO_NEW_PRIVS`).
pub fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, || "prctl(PR_SET_NO_NEW_PRIVS, 1)".into()).map(drop)
}

/// The signal this process gets when the thread that made it ends; `None`: none. Forgotten whenever credentials
/// change, so set it after the last change (`PR_SET_PDEATHSIG`).
pub fn set_parent_death_signal(signal: Option<i32>) -> Result<()> {
    let number = signal.unwrap_or(0);
    prctl(libc::PR_SET_PDEATHSIG, number as libc::c_ulong, || format!("prctl(PR_SET_PDEATHSIG, {number})")).map(drop)
}

/// Whether the process may be traced and its `/proc` entries opened by others with its user id. execve sets it anew
/// (`PR_SET_DUMPABLE`).
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    let value = libc::c_ulong::from(dumpable);
    prctl(libc::PR_SET_DUMPABLE, value, || format!("prctl(PR_SET_DUMPABLE, {value})")).map(drop)
}

/// The name that `ps` shows, at most 15 bytes (`PR_SET_NAME`).
pub fn set_name(name: &CStr) -> Result<()> {
    prctl(libc::PR_SET_NAME, name.as_ptr() as libc::c_ulong, || format!("prctl(PR_SET_NAME, {name:?})")).map(drop)
}

/// Whether permitted capabilities survive the change from user id 0 to another (`PR_SET_KEEPCAPS`).
pub fn set_keep_capabilities(keep: bool) -> Result<()> {
    let value = libc::c_ulong::from(keep);
    prctl(libc::PR_SET_KEEPCAPS, value, || format!("prctl(PR_SET_KEEPCAPS, {value})")).map(drop)
}

/// Whether orphaned descendants become children of this process (`PR_SET_CHILD_SUBREAPER`).
pub fn set_child_subreaper(reaper: bool) -> Result<()> {
    let value = libc::c_ulong::from(reaper);
    prctl(libc::PR_SET_CHILD_SUBREAPER, value, || format!("prctl(PR_SET_CHILD_SUBREAPER, {value})")).map(drop)
}
