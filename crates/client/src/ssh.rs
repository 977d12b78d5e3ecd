// SPDX-License-Identifier: Apache-2.0
//! `ssh://`: the user's own ssh program logs in and runs `system dial-stdio` there, which connects its standard streams
//! to the daemon's socket.
//!
//! Running it is one of the exceptions to "no program is run": keys, agents, known hosts and jump hosts are configured for
//! it, and it alone may use them.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::address::SshAddress;

/// A connection through an ssh program; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct SshStream {
    input: Option<ChildStdin>,
    output: ChildStdout,
    _program: Child,
}

/// Runs ssh to `address`; there the program `remote` (`corten` or `docker`) finds the daemon.
pub(crate) fn connect(address: &SshAddress, remote: &str) -> io::Result<SshStream> {
    #[expect(clippy::disallowed_methods, reason = "the user's ssh, which ARCHITECTURE.md names")]
    let mut command = std::process::Command::new("ssh");
    command
        .args(arguments(address, remote))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // What ssh has to say is for the user.
        .stderr(Stdio::inherit())
        // Ctrl-C is for the container, and must not end the connection to it.
        .process_group(0);
    let mut program = Command::from(command).kill_on_drop(true).spawn()?;
    let (Some(input), Some(output)) = (program.stdin.take(), program.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    Ok(SshStream { input: Some(input), output, _program: program })
}

fn arguments(address: &SshAddress, remote: &str) -> Vec<String> {
    // In a process group of its own it could not ask for a password: it fails instead, and says so.
    let mut arguments: Vec<String> = ["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30"].map(str::to_owned).into();
    if let Some(user) = &address.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = address.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--".to_owned(), address.host.clone(), remote.to_owned()]);
    if let Some(socket) = &address.socket {
        // ssh hands all this to a shell as one line.
        arguments.extend(["-H".to_owned(), quoted(socket)]);
    }
    arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);
    arguments
}

/// `unix://` and a path, as one word to a shell.
fn quoted(path: &Path) -> String {
    format!("'unix://{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

impl AsyncRead for SshStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(cx, data),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().map_or(Poll::Ready(Ok(())), |input| Pin::new(input).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A pipe's end is told by closing it.
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn line(address: &str) -> String {
        let Address::Ssh(address) = address.parse().unwrap() else { panic!("it is SSH") };
        arguments(&address, "corten").join(" ")
    }

    #[test]
    fn ssh_is_told_what_the_address_says_and_nothing_that_a_shell_could_misread() {
        let fixed = "-T -o BatchMode=yes -o ConnectTimeout=30";
        assert_eq!(line("ssh://host"), format!("{fixed} -- host corten system dial-stdio"));
        assert_eq!(
            line("ssh://me@host:22/run/it's $(x).sock"),
            format!(r"{fixed} -l me -p 22 -- host corten -H 'unix:///run/it'\''s $(x).sock' system dial-stdio")
        );
    }
}
