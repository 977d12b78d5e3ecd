// SPDX-License-Identifier: Apache-2.0
//! Signal masks and dispositions.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// A saved signal mask.
#[derive(Clone, Copy)]
pub struct Mask(libc::sigset_t);

fn filled(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> libc::c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset and sigfillset initialise the whole set and cannot fail with a valid pointer.
    unsafe {
        fill(set.as_mut_ptr());
        set.assume_init()
    }
}

fn set_mask(how: libc::c_int, set: &libc::sigset_t, call: &str) -> Result<Mask> {
    let mut old = filled(libc::sigemptyset);
    // SAFETY: two valid sets.
    match unsafe { libc::pthread_sigmask(how, set, &raw mut old) } {
        0 => Ok(Mask(old)),
        errno => Err(Error::new(call, rustix::io::Errno::from_raw_os_error(errno))),
    }
}

/// Blocks all signals of the calling thread; returns the mask there was.
pub fn block_all() -> Result<Mask> {
    set_mask(libc::SIG_SETMASK, &filled(libc::sigfillset), "sigprocmask(SIG_SETMASK, ~[])")
}

/// Blocks these signals of the calling thread in addition; returns the mask there was.
pub fn block(signals: &[i32]) -> Result<Mask> {
    let mut set = filled(libc::sigemptyset);
    for &signal in signals {
        // SAFETY: an initialised set; a number that is no signal is refused by the call.
        if unsafe { libc::sigaddset(&raw mut set, signal) } != 0 {
            return Err(Error::last(format!("sigaddset({signal})")));
        }
    }
    set_mask(libc::SIG_BLOCK, &set, "sigprocmask(SIG_BLOCK, …)")
}

/// Unblocks all signals of the calling thread; returns the mask there was.
pub fn unblock_all() -> Result<Mask> {
    set_mask(libc::SIG_SETMASK, &filled(libc::sigemptyset), "sigprocmask(SIG_SETMASK, [])")
}

/// Sets a mask saved before.
pub fn restore(mask: Mask) -> Result<()> {
    set_mask(libc::SIG_SETMASK, &mask.0, "sigprocmask(SIG_SETMASK, saved)").map(drop)
}

/// Waits for any signal there is, and takes it: its number. Block them all first (sigwait(3)).
pub fn wait_any() -> Result<i32> {
    let mut signal = 0;
    // SAFETY: a valid set, and room for the number.
    match unsafe { libc::sigwait(&filled(libc::sigfillset), &raw mut signal) } {
        0 => Ok(signal),
        errno => Err(Error::new("sigwait(~[])", rustix::io::Errno::from_raw_os_error(errno))),
    }
}

/// A descriptor (close-on-exec, non-blocking) from which these signals are read; block them first (signalfd(2)).
pub fn signalfd(signals: &[i32]) -> Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    let mut set = filled(libc::sigemptyset);
    for &signal in signals {
        // SAFETY: an initialised set; a number that is no signal is refused by the call.
        if unsafe { libc::sigaddset(&raw mut set, signal) } != 0 {
            return Err(Error::last(format!("sigaddset({signal})")));
        }
    }
    // SAFETY: a valid set; the descriptor returned is new and owned by nobody else.
    unsafe {
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        crate::error::check(libc::c_long::from(fd), || format!("signalfd(-1, {signals:?}, SFD_CLOEXEC|SFD_NONBLOCK)"))?;
        Ok(std::os::fd::OwnedFd::from_raw_fd(fd))
    }
}

/// The kernel's `struct sigaction`, large enough for every architecture's layout; all zero is `SIG_DFL` with an empty
/// mask and no flags in each of them.
type DefaultAction = [u64; 8];

/// Whether [`reset_ignored`] has done its work in this process, or in the one that it is a clone of. Nothing of this crate
/// ignores a signal, and nothing outside of it can: then none is ignored.
static NONE_IGNORED: AtomicBool = AtomicBool::new(false);

/// Sets every ignored signal back to its default, as a fresh program expects it. Handlers need nothing: execve(2)
/// removes them; but what is ignored stays ignored (Rust's runtime ignores SIGPIPE, nohup SIGHUP).
///
/// Asks the kernel directly: the C library refuses to touch the two signals it keeps for itself, but a parent that
/// uses another library may have left them ignored. For a child between clone and execve; done once, it is done for all
/// clones of the caller.
pub fn reset_ignored() {
    if NONE_IGNORED.swap(true, Ordering::Relaxed) {
        return;
    }
    const SIGNAL_SET_SIZE: usize = 8;
    let default: DefaultAction = [0; 8];
    for signal in 1..=64 {
        // SAFETY: a zeroed action of at least the kernel's size, and no old action asked for. SIGKILL and SIGSTOP are
        // refused, which is right: they are never ignored. The caller is about to execve and relies on no handler.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<DefaultAction>(),
                SIGNAL_SET_SIZE,
            );
        }
    }
}

/// The lowest and the highest real-time signal a program may use.
pub fn realtime_range() -> (i32, i32) {
    (libc::SIGRTMIN(), libc::SIGRTMAX())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_restored() {
        let saved = block_all().unwrap();
        let all = unblock_all().unwrap();
        // SAFETY: an initialised set.
        assert_eq!(unsafe { libc::sigismember(&raw const all.0, libc::SIGTERM) }, 1);
        restore(saved).unwrap();
    }
}
