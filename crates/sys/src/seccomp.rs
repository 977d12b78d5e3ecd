// SPDX-License-Identifier: Apache-2.0
//! Installing a seccomp filter (seccomp(2)) on the calling thread.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::error::{Result, check};

/// One instruction of a classic BPF program, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockFilter {
    /// The operation.
    pub code: u16,
    /// How many instructions to skip when a comparison is true.
    pub jt: u8,
    /// How many instructions to skip when it is false.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

#[repr(C)]
struct SockFprog {
    length: libc::c_ushort,
    filter: *const SockFilter,
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 8;

/// Installs `filter` with `flags` (`SECCOMP_FILTER_FLAG_…`, without a listener's). Needs `no_new_privs` or
/// `CAP_SYS_ADMIN`.
///
/// # Errors
/// `EINVAL` for a program the kernel's verifier refuses, or one that is empty or longer than 4096 instructions.
pub fn install(filter: &[SockFilter], flags: u32) -> Result<()> {
    set_mode_filter(filter, flags & !NEW_LISTENER).map(drop)
}

/// As [`install`]; what the filter notifies of is asked for at the descriptor returned, close-on-exec.
pub fn install_with_listener(filter: &[SockFilter], flags: u32) -> Result<OwnedFd> {
    let number = set_mode_filter(filter, flags | NEW_LISTENER)?;
    // SAFETY: with this flag the call returns a new descriptor, owned by nobody else. It fits in an int.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(number).unwrap_or(-1)) })
}

fn set_mode_filter(filter: &[SockFilter], flags: u32) -> Result<libc::c_long> {
    let call = || format!("seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x}, {{len={}}})", filter.len());
    let length =
        libc::c_ushort::try_from(filter.len()).map_err(|_| crate::Error::new(call(), rustix::io::Errno::INVAL))?;
    let program = SockFprog { length, filter: filter.as_ptr() };
    // SAFETY: the kernel copies and verifies `length` instructions from a slice that outlives the call.
    let returned =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    check(returned, call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_filter_decides() {
        std::thread::spawn(|| {
            crate::prctl::set_no_new_privs().unwrap();
            // ld [nr]; jeq #getppid, 0, 1; ret ERRNO(77); ret ALLOW
            let program = [
                SockFilter { code: 0x20, jt: 0, jf: 0, k: 0 },
                SockFilter { code: 0x15, jt: 0, jf: 1, k: libc::SYS_getppid as u32 },
                SockFilter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | 77 },
                SockFilter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 },
            ];
            install(&program, 0).unwrap();
            // SAFETY: a call without arguments.
            let returned = unsafe { libc::syscall(libc::SYS_getppid) };
            assert_eq!((returned, std::io::Error::last_os_error().raw_os_error()), (-1, Some(77)));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn an_empty_filter_is_refused() {
        assert_eq!(install(&[], 0).unwrap_err().errno(), rustix::io::Errno::INVAL);
    }
}
