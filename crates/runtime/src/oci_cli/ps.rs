// SPDX-License-Identifier: Apache-2.0
//! `ps`: the processes of a container, as `ps -ef` would list them.

use std::ffi::OsString;
use std::fmt::Write;

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::{Context, print};
use crate::processes::{self, Columns};

pub(super) fn ps(context: &Context, args: Vec<OsString>) -> Result<u8, CliError> {
    let flags = Flags::leading(args, &[Flag::value("format").short('f')])?;
    let (id, options) = flags.id_and_more()?;
    let json = match flags.text("format")?.as_deref() {
        None | Some("table") => false,
        Some("json") => true,
        Some(other) => {
            let value = other.to_owned();
            return Err(CliError::InvalidValue { flag: "format", value, expected: "table or json" });
        }
    };
    if !json {
        options.iter().try_for_each(|option| check_option(&option.to_string_lossy()))?;
    }
    let (_, record) = context.store.find(&id)?;
    let Some(cgroup) = record.cgroup()? else { return print(if json { "[]\n" } else { "" }) };
    if json {
        return print(&format!("{}\n", serde_json::to_string(&cgroup.processes()?).map_err(CliError::Format)?));
    }
    let listing = processes::list(&cgroup, &Columns::default())?;
    let width = pid_width();
    let titles: Vec<String> = listing.titles.iter().map(|title| (*title).to_owned()).collect();
    print(&std::iter::once(&titles).chain(&listing.rows).map(|cells| line(cells, width)).collect::<String>())
}

/// Options that ask for what is printed anyway.
fn check_option(option: &str) -> Result<(), CliError> {
    match option.strip_prefix('-') {
        Some(letters) if !letters.is_empty() && letters.chars().all(|letter| "eAf".contains(letter)) => Ok(()),
        _ => Err(CliError::PsOption { option: option.to_owned() }),
    }
}

/// Digits of the largest process id.
fn pid_width() -> usize {
    let text = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let largest: u64 = text.trim().parse().unwrap_or(32_768);
    largest.saturating_sub(1).to_string().len().max(5)
}

/// The cells of `ps -ef`, lined up as it does.
fn line(cells: &[String], width: usize) -> String {
    let mut line = String::new();
    for (column, cell) in cells.iter().enumerate() {
        // Writing to a string cannot fail.
        let _infallible = match column {
            0 | 5 => write!(line, "{cell:8} "),
            1 | 2 => write!(line, "{cell:>width$} "),
            3 => write!(line, "{cell:>2} "),
            4 => write!(line, "{cell:>5} "),
            6 => write!(line, "{cell:>8} "),
            _ => writeln!(line, "{cell}"),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_lined_up_as_ps_does() {
        let cells = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let heading = line(&cells("UID,PID,PPID,C,STIME,TTY,TIME,CMD"), 5);
        assert_eq!(heading, "UID        PID  PPID  C STIME TTY          TIME CMD\n");
        let row = line(&cells("u,71,7,30,09:05,pts/1,00:00:03,sh -c a"), 5);
        assert_eq!(row, "u           71     7 30 09:05 pts/1    00:00:03 sh -c a\n");
    }

    #[test]
    fn only_options_that_ask_for_this_are_taken() {
        for option in ["-ef", "-e", "-Af"] {
            check_option(option).unwrap();
        }
        for option in ["aux", "-", "-o", "-eF"] {
            assert!(matches!(check_option(option), Err(CliError::PsOption { option: named }) if named == option));
        }
    }
}
