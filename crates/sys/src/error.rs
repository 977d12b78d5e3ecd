// SPDX-License-Identifier: Apache-2.0
//! The error of a system call: the call with all its arguments, and the kernel's answer, as strace prints it.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

/// A system call that failed. Reads like `setns(4, CLONE_NEWNET) = -1 EPERM (Operation not permitted)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    call: String,
    errno: Errno,
}

impl Error {
    /// The failure of `call` (the call as strace would print it) with `errno`.
    pub fn new(call: impl Into<String>, errno: Errno) -> Error {
        Error { call: call.into(), errno }
    }

    /// The failure of `call` with the calling thread's `errno`.
    pub(crate) fn last(call: impl Into<String>) -> Error {
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Error::new(call, Errno::from_raw_os_error(errno))
    }

    /// The kernel's answer.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The call with its arguments.
    pub fn call(&self) -> &str {
        &self.call
    }

    /// The kernel's answer as the standard library has it, for classification.
    pub fn to_io(&self) -> io::Error {
        self.errno.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.errno.raw_os_error();
        let text = io::Error::from_raw_os_error(number).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        match errno_name(number) {
            Some(name) => write!(f, "{} = -1 {name} ({text})", self.call),
            None => write!(f, "{} = -1 errno {number} ({text})", self.call),
        }
    }
}

impl std::error::Error for Error {}

/// Turns the return value of a raw system call into a result; `call` is only formatted on failure.
pub(crate) fn check(returned: libc::c_long, call: impl FnOnce() -> String) -> Result<libc::c_long> {
    if returned >= 0 { Ok(returned) } else { Err(Error::last(call())) }
}

macro_rules! names {
    ($($name:ident)*) => {
        /// The symbolic name of an error number, where it is one that these calls return (errno(3)).
        fn errno_name(number: i32) -> Option<&'static str> {
            match number {
                $(libc::$name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV
    ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE
    EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENODATA EOVERFLOW EUSERS EDESTADDRREQ EMSGSIZE EOPNOTSUPP
    EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT
    ECONNREFUSED EHOSTUNREACH EALREADY EINPROGRESS ESTALE EDQUOT ENOKEY EKEYEXPIRED EKEYREVOKED ELIBBAD EUCLEAN
    ENOTUNIQ EPROTO EBADMSG ENOTSOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_strace() {
        let error = Error::new("setns(4, CLONE_NEWNET)", Errno::PERM);
        assert_eq!(error.to_string(), "setns(4, CLONE_NEWNET) = -1 EPERM (Operation not permitted)");
        assert_eq!(error.to_io().kind(), io::ErrorKind::PermissionDenied);
    }
}
