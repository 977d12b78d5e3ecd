// SPDX-License-Identifier: Apache-2.0
//! `corten daemon --background`: a session of the daemon's own.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use errors::Kind;

use crate::failure::Failure;

/// How often it is looked whether the daemon has come up.
const INTERVAL: Duration = Duration::from_millis(4);

/// Goes into a session of its own, and to `/`. What an interactive shell has started leads a group of processes, and may not:
/// then another process of this executable becomes the daemon, and this one has an exit code when that has written
/// `pidfile`, or ended.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn leave_the_callers_session(pidfile: &Path) -> Result<Option<u8>, Failure> {
    if rustix::process::getpgrp() == rustix::process::getpid() {
        let daemon = start_again().map_err(|error| failed("start the daemon in the background", error))?;
        return wait_until_it_listens(daemon, pidfile)
            .map(Some)
            .map_err(|error| failed("wait for the daemon in the background", error));
    }
    rustix::process::setsid().map_err(|errno| failed("leave the session", errno.into()))?;
    std::env::set_current_dir("/").map_err(|error| failed("change to /", error))?;
    Ok(None)
}

fn failed(what: &str, error: io::Error) -> Failure {
    Failure::new(Kind::Internal, format!("cannot {what}: {error}"))
}

/// The same command line once more, in a process that leads no group.
fn start_again() -> io::Result<Child> {
    #[expect(clippy::disallowed_methods, reason = "this is the daemon's start, one of the places that may")]
    let mut command = Command::new("/proc/self/exe");
    let mut words = std::env::args_os();
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command.args(words).stdin(Stdio::null()).spawn()
}

/// The exit code: 0 when the daemon listens, its own when it has ended before. It has told why.
fn wait_until_it_listens(mut daemon: Child, pidfile: &Path) -> io::Result<u8> {
    let own = format!("{}\n", daemon.id());
    loop {
        if let Some(status) = daemon.try_wait()? {
            // One that a signal ended has no code.
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        // It is written when the sockets are listened on; until then there is none, or another daemon's.
        if fs::read_to_string(pidfile).is_ok_and(|text| text == own) {
            return Ok(0);
        }
        std::thread::sleep(INTERVAL);
    }
}
