// SPDX-License-Identifier: Apache-2.0
//! `kill`: sends a signal, by name or number.

use std::ffi::OsString;
use std::os::fd::AsFd;

use super::Context;
use super::error::CliError;
use super::flags::{Flag, Flags};
use super::store::{Record, Status};

/// SIGKILL.
const KILL: i32 = 9;

/// Signal names without `SIG` (signal(7)), with the numbers that x86-64 and arm64 share.
const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

pub(super) fn kill(context: &Context, args: Vec<OsString>) -> Result<u8, CliError> {
    let flags = Flags::read(args, &[Flag::switch("all").short('a')])?;
    let (id, more) = flags.id_and_more()?;
    let signal = match more {
        [] => 15,
        [signal] => number(&signal.to_string_lossy())?,
        _ => return Err(CliError::Usage { expected: "one container id and at most one signal" }),
    };
    let (_, record) = context.store.find(&id)?;
    let all = flags.switch("all");
    if all || (signal == KILL && record.shares_pids) {
        return kill_all(&id.to_string(), &record, signal, all);
    }
    let Some(pidfd) = record.pidfd()? else {
        let (id, status) = (id.to_string(), Status::Stopped);
        return Err(CliError::State { id, status, action: "kill", expected: "running or created" });
    };
    sys::process::pidfd_send_signal(pidfd.as_fd(), signal)?;
    if signal == KILL {
        thaw_killed(&record)?;
    }
    Ok(0)
}

/// Every process in the cgroup. That there is none is an error, except with `--all`, as for runc.
fn kill_all(id: &str, record: &Record, signal: i32, all: bool) -> Result<u8, CliError> {
    let cgroup = record.cgroup()?;
    if let Some(cgroup) = &cgroup {
        if !all && cgroup.processes()?.is_empty() {
            let (id, status) = (id.to_owned(), Status::Stopped);
            return Err(CliError::State { id, status, action: "kill", expected: "running or created" });
        }
        cgroup.signal(signal)?;
        if signal == KILL {
            thaw_killed(record)?;
        }
    }
    Ok(0)
}

/// A frozen process of v1 dies only once it is thawed; v2's dies at once.
pub(super) fn thaw_killed(record: &Record) -> Result<(), CliError> {
    match record.is_paused()?.then(|| record.cgroup()).transpose()?.flatten() {
        Some(cgroup) => Ok(cgroup.thaw()?),
        None => Ok(()),
    }
}

fn number(text: &str) -> Result<i32, CliError> {
    let (_, highest) = sys::signal::realtime_range();
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    // 0 asks only whether there is somebody to signal (kill(2)).
    let numbered = || text.parse().ok().filter(|number| (0..=highest).contains(number));
    named.or_else(numbered).ok_or_else(|| CliError::InvalidValue {
        flag: "signal",
        value: text.into(),
        expected: "a signal's name or number",
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn signals_have_names_and_numbers() {
        for (text, expected) in [("TERM", 15), ("sigkill", 9), ("SIGUSR1", 10), ("34", 34), ("0", 0)] {
            assert_eq!(super::number(text).unwrap(), expected);
        }
        for text in ["65", "-1", "NONE", ""] {
            assert!(super::number(text).is_err(), "{text}");
        }
    }
}
