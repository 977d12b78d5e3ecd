// SPDX-License-Identifier: Apache-2.0
//! Staying with a container: signals are passed on, its terminal is connected with ours, its exit is ours.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::error::CliError;

/// Signals that are passed on; the others are about us, not about the container.
const FORWARDED: [i32; 9] = [1, 2, 3, 10, 12, 15, 18, 20, 28];
const SIGWINCH: i32 = 28;

/// Signals held back since before the container was made, so that none is lost and none ends us.
pub(super) struct Foreground {
    signals: OwnedFd,
    mask: sys::signal::Mask,
}

/// Our own terminal, in raw mode until this is dropped.
struct Raw(Termios);

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.0).unwrap_or_default();
    }
}

impl Foreground {
    pub(super) fn prepare() -> Result<Foreground, CliError> {
        let mask = sys::signal::block(&FORWARDED)?;
        Ok(Foreground { signals: sys::signal::signalfd(&FORWARDED)?, mask })
    }

    /// Stays until the process ends; returns its exit code, 128 + n for signal n.
    pub(super) fn attend(self, pidfd: BorrowedFd<'_>, terminal: Option<&OwnedFd>) -> Result<u8, CliError> {
        let raw = match &terminal {
            Some(_) if isatty(rustix::stdio::stdin()) => Some(make_raw()?),
            _ => None,
        };
        if let Some(terminal) = terminal {
            copy_size(terminal);
        }
        let connected = self.connect(pidfd, terminal);
        drop(raw);
        sys::signal::restore(self.mask)?;
        connected?;
        wait(pidfd)
    }

    fn connect(&self, pidfd: BorrowedFd<'_>, terminal: Option<&OwnedFd>) -> Result<(), CliError> {
        let mut input_open = terminal.is_some();
        let mut buffer = [0; 16 * 1024];
        loop {
            let stdin = rustix::stdio::stdin();
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
            if let Some(terminal) = terminal {
                fds.push(PollFd::new(terminal, PollFlags::IN));
                if input_open {
                    fds.push(PollFd::new(&stdin, PollFlags::IN));
                }
            }
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(sys::Error::new("poll(signals, process, terminal)", errno).into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if ready[0] {
                self.pass_on(pidfd, terminal);
            }
            if let Some(terminal) = terminal {
                let output_ready = ready.get(2).copied().unwrap_or(false);
                if output_ready && !copy(terminal, rustix::stdio::stdout(), &mut buffer) {
                    // The last process that had it is gone; the exit follows.
                    return Ok(());
                }
                if ready.get(3).copied().unwrap_or(false) {
                    input_open = copy(stdin, terminal, &mut buffer);
                }
                if ready[1] {
                    return drain(terminal, &mut buffer);
                }
            } else if ready[1] {
                return Ok(());
            }
        }
    }

    fn pass_on(&self, pidfd: BorrowedFd<'_>, terminal: Option<&OwnedFd>) {
        // struct signalfd_siginfo: 128 bytes, the number first.
        let mut info = [0; 128];
        while let Ok(128) = rustix::io::read(&self.signals, &mut info) {
            let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
            match terminal {
                Some(terminal) if number == SIGWINCH => copy_size(terminal),
                // A process that has ended needs no signal any more.
                _ => sys::process::pidfd_send_signal(pidfd, number).unwrap_or_default(),
            }
        }
    }
}

/// What the terminal still has when the process has ended.
fn drain(terminal: &OwnedFd, buffer: &mut [u8]) -> Result<(), CliError> {
    rustix::fs::fcntl_setfl(terminal, OFlags::NONBLOCK)
        .map_err(|errno| sys::Error::new("fcntl(terminal, F_SETFL, O_NONBLOCK)", errno))?;
    while copy(terminal, rustix::stdio::stdout(), buffer) {}
    Ok(())
}

/// Copies once; false at the end of the source, or when either side is gone.
fn copy(from: impl AsFd, to: impl AsFd, buffer: &mut [u8]) -> bool {
    let length = match rustix::io::retry_on_intr(|| rustix::io::read(&from, &mut *buffer)) {
        Ok(0) | Err(_) => return false,
        Ok(length) => length,
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(&to, rest)) {
            Ok(written) => rest = &rest[written..],
            Err(_) => return false,
        }
    }
    true
}

/// Keys are passed on as they are; output is still prepared for the screen, which the container's terminal does not do.
fn make_raw() -> Result<Raw, CliError> {
    let stdin = rustix::stdio::stdin();
    let before = tcgetattr(stdin).map_err(|errno| sys::Error::new("ioctl(0, TCGETS)", errno))?;
    let mut raw = before.clone();
    raw.make_raw();
    raw.output_modes = before.output_modes;
    tcsetattr(stdin, OptionalActions::Now, &raw).map_err(|errno| sys::Error::new("ioctl(0, TCSETS)", errno))?;
    Ok(Raw(before))
}

/// A terminal without a size keeps the one it has.
fn copy_size(terminal: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        tcsetwinsize(terminal, size).unwrap_or_default();
    }
}

/// The exit code of an ended child, 128 + n for signal n.
fn wait(pidfd: BorrowedFd<'_>) -> Result<u8, CliError> {
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED))
        .map_err(|errno| sys::Error::new("waitid(P_PIDFD, WEXITED)", errno))?;
    let code = status.map_or(1, |status| match status.terminating_signal() {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(1),
    });
    Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}
