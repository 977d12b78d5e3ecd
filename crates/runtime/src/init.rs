// SPDX-License-Identifier: Apache-2.0
//! A container's own init, the hat `docker-init`: process 1, which reaps what others leave behind and passes signals on to
//! the command, and ends with the command's exit code.
//!
//! The container's first process executes this program once more, through the descriptor that it still has of it, so
//! nothing has to be in the image or mounted over it; what a container can reach of the program is as read-only as before
//! (see [`crate::protect`]). Before that it has made the command's process, which waits until this is ready: the two talk
//! over one socket ([`SOCKET`]): the command's process number lies in it, and one byte says go.
//!
//! That it is a program of its own and not the forked launcher makes it look to others as any process 1 does: its
//! arguments, its environment and its descriptors can be read, and no address of the launcher's.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, WaitOptions, wait};

/// The name by which this program knows that it is to be an init; Docker's, for who looks for it.
pub const NAME: &str = "docker-init";
/// What `ps` shows before the command.
pub(crate) const PROGRAM: &std::ffi::CStr = c"/sbin/docker-init";
/// The number of the socket's descriptor. Beyond those that the first process still has then.
pub(crate) const SOCKET: u32 = 10;

/// SIGCHLD, SIGTTIN and SIGTTOU have these numbers on every architecture that Linux runs containers on.
const CHILD: i32 = 17;
/// They are about who reads this process's terminal, and nobody else's business.
const OWN_TERMINAL: [i32; 2] = [21, 22];

/// The whole life of an init; its exit code. All signals are blocked by who has executed it.
pub fn main() -> u8 {
    let Some(command) = begin() else {
        // Its standard error is the container's: whoever called it there reads this.
        eprint_usage();
        return 1;
    };
    loop {
        match sys::signal::wait_any() {
            Ok(CHILD) => {
                if let Some(code) = reap(command) {
                    return code;
                }
            }
            Ok(signal) if OWN_TERMINAL.contains(&signal) => {}
            // A command that has just ended is about to be reaped; one that has become another user may not be sent any.
            Ok(signal) => drop(sys::process::kill(command, signal)),
            // The kernel refuses no set of signals.
            Err(_) => return 1,
        }
    }
}

/// Hears which process the command is, and lets it go on.
fn begin() -> Option<Pid> {
    let mut socket = UnixStream::from(sys::fds::inherited(SOCKET).ok()?);
    let mut number = [0; 4];
    socket.read_exact(&mut number).ok()?;
    let command = Pid::from_raw(i32::from_ne_bytes(number))?;
    sys::prctl::set_name(c"docker-init").ok()?;
    // In a pid namespace of others it is not process 1, and orphans would not come here.
    sys::prctl::set_child_subreaper(true).ok()?;
    socket.write_all(b"!").ok()?;
    Some(command)
}

/// Reaps all that have ended. The exit code, if the command is among them: its own, or 128 and the signal that ended it.
fn reap(command: Pid) -> Option<u8> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == command {
            let code = status.terminating_signal().map(|signal| 128 + signal).or(status.exit_status()).unwrap_or(255);
            return Some(u8::try_from(code).unwrap_or(255));
        }
    }
    None
}

fn eprint_usage() {
    let text = b"docker-init: this is the first process of a container that is started with --init, and no command\n";
    // Where nobody reads, nobody need know.
    let _ = rustix::io::write(rustix::stdio::stderr(), text);
}
