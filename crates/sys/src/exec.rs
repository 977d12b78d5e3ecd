// SPDX-License-Identifier: Apache-2.0
//! Replacing the program: execve(2) with arguments prepared beforehand.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::Error;

/// A list of strings for execve(2): owned, and terminated by a null pointer when used.
#[derive(Debug, Clone, Default)]
pub struct StringList(Vec<CString>);

impl StringList {
    /// A list of these strings.
    pub fn new(strings: Vec<CString>) -> StringList {
        StringList(strings)
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.0
    }

    fn pointers(&self) -> Vec<*const libc::c_char> {
        self.0.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    }
}

/// Replaces the calling program by `path`. Returns only when that failed.
pub fn execve(path: &CStr, arguments: &StringList, environment: &StringList) -> Error {
    let (argv, envp) = (arguments.pointers(), environment.pointers());
    // SAFETY: a string and two null-terminated arrays of strings, all of which outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Error::last(format!("execve({path:?}, {:?}, /* {} vars */)", arguments.0, environment.0.len()))
}

/// Replaces the calling program by the file behind `program` (execveat(2) with `AT_EMPTY_PATH`). Returns only when
/// that failed. The descriptor should be close-on-exec, which scripts do not survive: this is for binaries.
pub fn execve_fd(program: BorrowedFd<'_>, arguments: &StringList, environment: &StringList) -> Error {
    let (argv, envp) = (arguments.pointers(), environment.pointers());
    // SAFETY: an open descriptor, an empty string and two null-terminated arrays of strings, which outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Error::last(format!(
        "execveat({}, \"\", {:?}, /* {} vars */, AT_EMPTY_PATH)",
        program.as_raw_fd(),
        arguments.0,
        environment.0.len()
    ))
}
