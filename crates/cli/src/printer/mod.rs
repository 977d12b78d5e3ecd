// SPDX-License-Identifier: Apache-2.0
//! The only place that prints. Data goes to stdout; progress, warnings and errors to stderr. A reader that went away
//! (`corten ps | head -1`) ends the program quietly, as it ends every other.

pub(crate) mod confirm;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod listing;
pub(crate) mod meter;
pub(crate) mod progress;
pub(crate) mod table;

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use errors::Report;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::program;

/// What a shell reports of a program that a closed pipe ended: 128 + SIGPIPE.
const CLOSED_PIPE: i32 = 141;

/// Write `data` to stdout.
pub(crate) fn data(data: &[u8]) {
    finish(write_whole(&mut io::stdout().lock(), data));
}

/// Write `data` to stderr.
pub(crate) fn error_data(data: &[u8]) {
    finish(write_whole(&mut io::stderr().lock(), data));
}

/// Writes all of `data`, however long that takes: who shares a terminal or a pipe with a program that does not want to wait for it
/// (`O_NONBLOCK`) finds it full at times.
fn write_whole(stream: &mut (impl Write + AsFd), mut data: &[u8]) -> io::Result<()> {
    loop {
        let written = if data.is_empty() { stream.flush().map(|()| 0) } else { stream.write(data) };
        match written {
            Ok(_) if data.is_empty() => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => data = &data[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_room(stream)?,
            Err(error) => return Err(error),
        }
    }
}

fn wait_for_room(stream: &impl AsFd) -> io::Result<()> {
    match poll(&mut [PollFd::new(stream, PollFlags::OUT)], None) {
        Err(Errno::INTR) | Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Write a line to stdout.
pub(crate) fn line(text: &str) {
    data(format!("{text}\n").as_bytes());
}

/// Write a line to stderr.
pub(crate) fn note(text: &str) {
    error_data(format!("{text}\n").as_bytes());
}

/// Write a warning to stderr.
pub(crate) fn warning(text: &str) {
    note(&format!("{}: {}", colored("warning", "33"), program::spoken(text)));
}

/// Write an error, and what to do about it, to stderr.
pub(crate) fn failure(report: &Report) {
    let mut text = format!("{}: {}", colored(program::name(), "1;31"), program::spoken(&report.message));
    if let Some(hint) = &report.hint {
        text.push_str("\n  ");
        text.push_str(&program::spoken(hint));
    }
    note(&text);
}

/// `text` in a colour (an SGR parameter), where stderr has colours.
fn colored(text: &str, color: &str) -> String {
    if has_colours(&io::stderr()) { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Whether colours are wanted on `stream`: it is a terminal, and the user has nothing against them.
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && stream.is_terminal()
}

/// Ends the program when `error` is that whoever read its output has gone: there is no one to tell.
pub(crate) fn end_if_nobody_reads(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        // The terminal must not stay raw, whatever happens.
        crate::terminal::restore();
        std::process::exit(CLOSED_PIPE);
    }
}

fn finish(result: io::Result<()>) {
    let Err(error) = result else { return };
    end_if_nobody_reads(&error);
    crate::terminal::restore();
    // It may be stderr itself that cannot be written: then the exit code has to do.
    let _ = writeln!(io::stderr(), "{}: cannot write the output: {error}", program::name());
    std::process::exit(1);
}
