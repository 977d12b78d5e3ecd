// SPDX-License-Identifier: Apache-2.0
//! Signal names and numbers (signal(7), x86-64 and arm64 numbering), and sending one to a process that is certainly the
//! right one.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use shim::ProcessRef;

use crate::container::{Container, Running};
use crate::error::EngineError;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal's number from its name, with or without `SIG`, or from its number.
///
/// # Errors
/// What is neither.
pub(crate) fn parse(text: &str) -> Result<i32, EngineError> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    // How far it is from the first of them, or from the last.
    let distance = |rest: &str, sign: char| {
        if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from) }
    };
    let number = match name {
        "IOT" => Some(6),
        "POLL" => Some(29),
        _ => NAMES.iter().position(|&known| known == name).map(|at| at as i32 + 1),
    };
    number
        .or_else(|| Some(RTMIN + distance(name.strip_prefix("RTMIN")?, '+')?))
        .or_else(|| Some(RTMAX - distance(name.strip_prefix("RTMAX")?, '-')?))
        .or_else(|| name.parse().ok())
        .filter(|number| (1..=RTMAX).contains(number) && !(32..34).contains(number))
        .ok_or_else(|| EngineError::invalid("signal", format!("{text:?} is not a signal")))
}

/// A descriptor of a running container's first process; `None` when that process is gone.
pub(crate) fn pidfd(running: &Running) -> Result<Option<OwnedFd>, EngineError> {
    let process = ProcessRef { pid: running.pid, start_time: running.start_time };
    process.open().map_err(EngineError::io("open the process", format!("/proc/{}", running.pid)))
}

/// Sends signal `number` to the first process of a container that runs, and tells of it. `false` when it is gone already.
pub(crate) fn send(container: &Container, running: &Running, number: i32) -> Result<bool, EngineError> {
    let Some(pidfd) = pidfd(running)? else { return Ok(false) };
    // Before the signal: its consequences are told after it.
    container.tell_signal(number);
    match sys::process::pidfd_send_signal(pidfd.as_fd(), number) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Errno::SRCH => Ok(false),
        Err(error) => Err(EngineError::Signal(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_docker_reads_them() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMIN", 34),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in [
            "",
            "SIG",
            "0",
            "65",
            "-9",
            "33",
            "SIGRTMIN+99",
            "RTMINx",
            "RTMINx3",
            "RTMIN-3",
            "RTMAX+1",
            "RTMIN+2147483647",
            "RTMAX--2147483648",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
