// SPDX-License-Identifier: Apache-2.0
//! The shim itself: one thread, one loop.
//!
//! A round of the loop waits for whatever can go on: output to read, input to give, clients to hear or to serve,
//! children to reap. Nothing in it blocks, but launching: the container first, execs later.
//!
//! - *Order.* Output is logged first, then sent to every client that follows it, then the next is read.
//! - *Backpressure.* While [`OUT_LIMIT`] bytes wait for one client that is there, its process's output is not read;
//!   so the process is slowed, nothing is dropped, and no buffer grows. A client that is gone is dropped.
//! - *Independence.* The daemon's watch session is a client like any other; its end changes nothing.
//! - *End.* When the container's process has ended: its last output, `exit.json`, `EXITED` to everybody; then the root
//!   is let go and the control group removed, watch sessions end, and what clients still have to read is sent.
//!
//! Signals are all blocked: only SIGKILL ends a shim before its container, and the container with it. But where the
//! shim's directory was removed nobody can reach it any more, nor learn of its end: SIGTERM ends the container then.

mod clients;
mod exec;
mod finish;
mod launch;
mod queue;
mod session;
mod task;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use cgroup::Cgroup;
use errors::Report;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};

pub(crate) use self::launch::Itself;
use self::launch::{Container, launch};
use self::session::{Role, Session};
use self::task::{Task, TaskKey};
use crate::frame::Kind;
use crate::log::{LogStream, LogWriter};
use crate::protocol::Started;
use crate::state::{self, State};
use crate::zygote::drain;

/// How much is read at once, in bytes: half of a pipe.
const CHUNK: usize = 32 << 10;
/// The same number everywhere.
const SIGKILL: i32 = 9;
/// How much input may wait for a process before its clients are heard no further, in bytes.
const IN_LIMIT: usize = 64 << 10;
/// How long a container runs before it is taken for one that goes on.
const MOMENT: Duration = Duration::from_millis(50);
/// When a state is written again that could not be.
const AGAIN: Duration = Duration::from_secs(1);
/// How many clients are served at once; more wait in the socket's queue.
const MAX_SESSIONS: usize = 128;

/// What the zygote hands over.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// The daemon's watch session, on which the description comes first.
    pub(crate) control: OwnedFd,
    /// See [`ShimFds`](crate::ShimFds).
    pub(crate) rootfs: Option<OwnedFd>,
    /// See [`ShimFds`](crate::ShimFds).
    pub(crate) netns: Option<OwnedFd>,
    /// See [`ShimFds`](crate::ShimFds).
    pub(crate) attach: Option<OwnedFd>,
}

/// A running shim.
struct Shim<'a> {
    signals: BorrowedFd<'a>,
    dir: OwnedFd,
    listener: UnixListener,
    state: State,
    log: Option<LogWriter>,
    container: Container,
    cgroup: Cgroup,
    started: Started,
    sessions: Vec<Session>,
    /// The container's own process is the first.
    tasks: Vec<Task>,
    next_task: u32,
    /// Room for [`CHUNK`] bytes, of which only what was read into has memory behind it.
    buffer: Vec<u8>,
    /// When to do what a container needs only if it goes on: [`Shim::settle`].
    settles: Option<Instant>,
}

/// What a descriptor that is ready belongs to.
#[derive(Debug, Clone, Copy)]
enum Token {
    Signals,
    Listener,
    Source(TaskKey, Kind),
    Stdin(TaskKey),
    Session(usize),
}

/// The whole life of a shim; its exit code. `itself` and `ahead`: what it is, and the control group that it made, before it was
/// told what to run.
pub(crate) fn run(
    descriptors: Descriptors,
    itself: Option<Itself>,
    ahead: Option<Cgroup>,
    signals: BorrowedFd<'_>,
) -> i32 {
    let Descriptors { control, rootfs, netns, attach } = descriptors;
    let mut control = Session::new(control, Role::Watch);
    let mut attach = attach.map(|socket| Session::new(socket, Role::New));
    let (dir, launched) = match launch(&control.socket, rootfs, netns, itself, ahead) {
        Ok(launched) => launched,
        Err(error) => {
            let report = Report::from(&error);
            for session in std::iter::once(&mut control).chain(&mut attach) {
                session.fail(&report);
            }
            flush_all(&mut attach.into_iter().chain([control]).collect());
            return 1;
        }
    };
    let mut shim = Shim {
        signals,
        dir,
        listener: launched.listener,
        state: launched.state,
        log: launched.log,
        container: launched.container,
        cgroup: launched.cgroup,
        started: launched.started,
        sessions: Vec::new(),
        tasks: vec![launched.task],
        next_task: 1,
        buffer: Vec::with_capacity(CHUNK),
        settles: Some(Instant::now() + MOMENT),
    };
    if let Some(attach) = attach {
        shim.sessions.push(attach);
        shim.attach(0, true, true, true);
    }
    control.send_json(Kind::Started, &shim.started);
    shim.sessions.push(control);
    if let Some(surplus) = launched.surplus {
        // Only now: nobody waits for this. Should it fail, an empty group stays, which the daemon's next start finds by the
        // shim's directory.
        let _ = surplus.undo();
    }
    let status = loop {
        // First, because a child may have ended while launching waited for others.
        if let Some(status) = shim.reap() {
            break status;
        }
        shim.round();
    };
    shim.finish(status)
}

/// Waits until everything is sent or nobody is there to read it.
fn flush_all(sessions: &mut Vec<Session>) {
    loop {
        sessions.retain(|session| session.wants_to_send() && !session.gone);
        if sessions.is_empty() {
            return;
        }
        let mut waiting: Vec<_> = sessions.iter().map(|s| PollFd::new(&s.socket, PollFlags::OUT)).collect();
        if let Err(e) = poll(&mut waiting, None)
            && e != Errno::INTR
        {
            return;
        }
        let ready: Vec<_> = waiting.iter().map(PollFd::revents).collect();
        for (session, ready) in sessions.iter_mut().zip(ready) {
            if ready.intersects(PollFlags::HUP | PollFlags::ERR) {
                session.hang_up();
            } else if !ready.is_empty() {
                session.flush();
            }
        }
    }
}

impl Shim<'_> {
    /// Waits until something can go on, and does it.
    fn round(&mut self) {
        // Before waiting: a session that ended in the meantime must not wait for the next event to be closed.
        self.drop_finished_sessions();
        for (token, ready) in self.wait() {
            match token {
                Token::Signals => {
                    if drain(self.signals) && self.is_forsaken() {
                        self.end_container();
                    }
                }
                Token::Listener => self.accept(),
                Token::Source(task, kind) => {
                    self.read_output(task, kind);
                    self.flush_log();
                }
                Token::Stdin(task) => {
                    if let Some(task) = self.tasks.iter_mut().find(|t| t.key == task) {
                        task.flush_stdin();
                    }
                }
                Token::Session(index) => self.serve(index, ready),
            }
        }
        if self.settles.is_some_and(|at| at <= Instant::now()) {
            self.settle();
        }
    }

    /// Writes down which process the container's is, and gives the memory of its description back. A command that has ended
    /// by now needs neither, and whoever waits for its start and its end does not wait for this.
    ///
    /// Until then a new daemon hears of the process from this shim; and without the shim it is killed.
    fn settle(&mut self) {
        self.container.forget_rest_of_spec();
        self.settles = self.write_state().is_err().then(|| Instant::now() + AGAIN);
    }

    /// Whether the shim's directory was removed: a directory without a name has no links.
    fn is_forsaken(&self) -> bool {
        rustix::fs::fstat(&self.dir).is_ok_and(|status| status.st_nlink == 0)
    }

    /// Kills the container. Its end is seen as any other is.
    fn end_container(&mut self) {
        if self.state.paused {
            // What stands still does not die everywhere; what cannot be thawed is killed all the same.
            self.state.paused = self.cgroup.thaw().is_err();
        }
        if self.cgroup.kill().is_err() {
            // Without its group, its first process at least, and with it those of its pid namespace.
            let _ = sys::process::pidfd_send_signal(self.container.process.pidfd.as_fd(), SIGKILL);
        }
    }

    /// Everything that is ready.
    fn wait(&self) -> Vec<(Token, PollFlags)> {
        let mut tokens = vec![Token::Signals];
        let mut waiting = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if self.sessions.len() < MAX_SESSIONS {
            tokens.push(Token::Listener);
            waiting.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        for task in &self.tasks {
            if self.sessions.iter().all(|session| session.has_room_for(task.key)) {
                for source in &task.sources {
                    tokens.push(Token::Source(task.key, source.kind));
                    waiting.push(PollFd::new(&*source.fd, PollFlags::IN));
                }
            }
            if let Some(stdin) = task.stdin.as_ref().filter(|stdin| stdin.pending() > 0) {
                tokens.push(Token::Stdin(task.key));
                waiting.push(PollFd::new(stdin.fd(), PollFlags::OUT));
            }
        }
        for (index, session) in self.sessions.iter().enumerate() {
            let mut interest = PollFlags::empty();
            interest.set(PollFlags::IN, self.hears(session));
            interest.set(PollFlags::OUT, session.wants_to_send());
            // A client that is gone reports that for ever: it waits unasked until its input can go on.
            if !session.gone || !interest.is_empty() {
                tokens.push(Token::Session(index));
                waiting.push(PollFd::new(&session.socket, interest));
            }
        }
        let limit = self.settles.map(|at| at.saturating_duration_since(Instant::now()));
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut waiting, limit.as_ref()) {
            Ok(_) => {}
            Err(_) => return Vec::new(),
        }
        let ready = tokens.into_iter().zip(waiting.iter().map(PollFd::revents));
        ready.filter(|(_, flags)| !flags.is_empty()).collect()
    }

    /// Reads once from a process's output, and passes it on.
    fn read_output(&mut self, key: TaskKey, kind: Kind) -> ReadOutcome {
        let Some(task) = self.tasks.iter_mut().find(|task| task.key == key) else { return ReadOutcome::End };
        let Some(at) = task.sources.iter().position(|source| source.kind == kind) else { return ReadOutcome::End };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let outcome = match rustix::io::read(task.sources[at].fd.as_fd(), spare_capacity(&mut buffer)) {
            Ok(count @ 1..) => ReadOutcome::Bytes(count),
            Err(Errno::AGAIN | Errno::INTR) => ReadOutcome::Nothing,
            // A terminal says EIO at its end.
            Ok(0) | Err(_) => ReadOutcome::End,
        };
        match outcome {
            ReadOutcome::Bytes(_) => self.pass_on(key, kind, &buffer),
            ReadOutcome::Nothing => {}
            ReadOutcome::End => {
                task.sources.remove(at);
            }
        }
        self.buffer = buffer;
        outcome
    }

    /// Logs output, then sends it to everybody who follows it.
    fn pass_on(&mut self, key: TaskKey, kind: Kind, bytes: &[u8]) {
        if key == TaskKey::INIT
            && let Some(log) = &mut self.log
        {
            log.write(if kind == Kind::Stderr { LogStream::Stderr } else { LogStream::Stdout }, bytes);
        }
        let follows = |session: &Session| {
            let Role::Attach(attach) = session.role else { return false };
            attach.task == key && if kind == Kind::Stderr { attach.stderr } else { attach.stdout }
        };
        if self.sessions.iter().any(follows) {
            self.flush_log();
        }
        for session in self.sessions.iter_mut().filter(|session| follows(session)) {
            session.send(kind, bytes);
        }
    }

    /// Puts into the log's file what was logged.
    fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
            self.note_log_failure();
        }
    }

    /// Says in `state.json` when the log begins to lose lines, and when it no longer does.
    fn note_log_failure(&mut self) {
        let Some(log) = &self.log else { return };
        if log.failure() != self.state.log_failure.as_deref() {
            self.state.log_failure = log.failure().map(str::to_owned);
            self.state.log_lines_lost = log.lost();
            self.write_change();
        }
    }

    fn write_change(&self) {
        // It may share the disk that is full. Nothing rests on it: the daemon believes the kernel, and the next
        // change writes all of it again.
        let _ = self.write_state();
    }

    fn write_state(&self) -> io::Result<()> {
        state::write(&self.dir, "state.json", &self.state)
    }

    /// Reaps whatever has ended: execs, which are finished here; orphans, which came here because their parents
    /// ended; and the container's own process, whose status is returned.
    fn reap(&mut self) -> Option<WaitStatus> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if pid == self.started.pid {
                return Some(status);
            }
            self.exec_ended(pid, status);
        }
        None
    }
}

/// What a read from a process gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadOutcome {
    Bytes(usize),
    Nothing,
    End,
}
