// SPDX-License-Identifier: Apache-2.0
//! A process that the shim started, the container's first or an exec's, and the outer ends of its stdio.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use oci::runtime_spec::Process;
use runtime::Stdio;
use rustix::fs::{Mode, OFlags, fchown, open};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Uid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{Winsize, tcsetwinsize};

use super::queue::{Sink, SinkState};
use crate::frame::Kind;

/// The container's own process, or one of its execs. Never used twice in a shim's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskKey(pub(crate) u32);

impl TaskKey {
    /// The container's own process.
    pub(crate) const INIT: TaskKey = TaskKey(0);
}

/// A process and the outer ends of its stdio.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) key: TaskKey,
    pub(crate) exec_id: Option<String>,
    pub(crate) pid: i32,
    pub(crate) stdin: Option<Sink>,
    /// Whether its input ends with that of its client; otherwise it waits for the next client.
    pub(crate) stdin_ends_with_client: bool,
    pub(crate) sources: Vec<Source>,
    terminal: Option<Terminal>,
}

/// Where a process's output is read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    pub(crate) fd: Rc<OwnedFd>,
}

/// A process's terminal.
#[derive(Debug)]
struct Terminal {
    master: Rc<OwnedFd>,
    /// Kept open so that the master does not report an end whenever the process has the terminal closed for a moment.
    _slave: Option<OwnedFd>,
}

/// The outer ends of a process's stdio, before and after it is started.
#[derive(Debug, Default)]
pub(crate) struct Outer {
    stdin: Option<Sink>,
    sources: Vec<Source>,
    terminal: Option<Terminal>,
}

/// What to give a process as its stdio, and the outer ends where they exist before the process does.
/// `stdin`: keep a pipe open for clients; without it, `/dev/null`.
pub(crate) fn make_stdio(
    process: Option<&Process>,
    size: Option<(u16, u16)>,
    stdin: bool,
) -> Result<(Stdio, Outer), Errno> {
    if process.and_then(Process::terminal) == Some(true) {
        return Ok((Stdio::Terminal { size }, Outer::default()));
    }
    let owner = process.map(|process| process.user().uid()).filter(|&uid| uid != 0);
    let mut outer = Outer::default();
    let inner_stdin = if stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        ioctl_fionbio(&write, true)?;
        outer.stdin = Some(Sink::new(Rc::new(write)));
        read
    } else {
        open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?
    };
    let mut output = |kind| -> Result<OwnedFd, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        ioctl_fionbio(&read, true)?;
        outer.sources.push(Source { kind, fd: Rc::new(read) });
        Ok(write)
    };
    let stdio = [inner_stdin, output(Kind::Stdout)?, output(Kind::Stderr)?];
    // A process that is not root may open /dev/stdout again only if the pipe is its own.
    for fd in stdio.iter().skip(usize::from(!stdin)) {
        if let Some(uid) = owner {
            fchown(fd, Some(Uid::from_raw(uid)), None)?;
        }
    }
    let [stdin, stdout, stderr] = stdio;
    Ok((Stdio::Fds { stdin, stdout, stderr }, outer))
}

impl Outer {
    /// Adds the terminal that the runtime made.
    pub(crate) fn with_terminal(mut self, master: Option<OwnedFd>) -> Result<Outer, Errno> {
        let Some(master) = master else { return Ok(self) };
        ioctl_fionbio(&master, true)?;
        let master = Rc::new(master);
        // Without it (a kernel before 4.13) an end is believed when it is first reported.
        let slave = ioctl_tiocgptpeer(&*master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).ok();
        self.sources = vec![Source { kind: Kind::Stdout, fd: Rc::clone(&master) }];
        self.stdin = Some(Sink::new(Rc::clone(&master)));
        self.terminal = Some(Terminal { master, _slave: slave });
        Ok(self)
    }
}

impl Task {
    pub(crate) fn new(key: TaskKey, exec_id: Option<String>, pid: i32, outer: Outer) -> Task {
        let Outer { stdin, sources, terminal } = outer;
        Task { key, exec_id, pid, stdin, stdin_ends_with_client: true, sources, terminal }
    }

    /// Changes the size of its terminal. False if it has none.
    pub(crate) fn resize(&self, rows: u16, cols: u16) -> Result<bool, Errno> {
        let Some(terminal) = &self.terminal else { return Ok(false) };
        tcsetwinsize(terminal.master.as_fd(), Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 })?;
        Ok(true)
    }

    /// Gives a client's input to the process.
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        self.settle(|stdin| stdin.give(bytes));
    }

    /// Gives more of what waits.
    pub(crate) fn flush_stdin(&mut self) {
        self.settle(Sink::flush);
    }

    /// A client's input has ended, and with it the process's if that is how it was started. The end of a terminal's
    /// input is a key that the user presses; there is none to be made here.
    pub(crate) fn client_input_ended(&mut self) {
        if self.stdin_ends_with_client && self.terminal.is_none() {
            self.settle(Sink::end);
        }
    }

    fn settle(&mut self, act: impl FnOnce(&mut Sink) -> SinkState) {
        if self.stdin.as_mut().map(act) == Some(SinkState::Done) {
            self.stdin = None;
        }
    }
}
