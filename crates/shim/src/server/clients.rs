// SPDX-License-Identifier: Apache-2.0
//! Hearing clients: new connections, their first request, and what comes after it.

use std::io;
use std::time::Duration;

use errors::{Kind as ErrorKind, Report};
use rustix::event::PollFlags;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::session::{Attach, Received, Role, Session};
use super::task::{Task, TaskKey};
use super::{IN_LIMIT, MAX_SESSIONS, Shim};
use crate::frame::{Item, Kind};
use crate::protocol::{Request, Resize};

/// A client that says what nobody may say here.
fn unexpected(what: &str) -> Report {
    Report::new(ErrorKind::InvalidArgument, format!("{what} is not expected on this connection"))
}

impl Shim<'_> {
    /// Takes new connections: from root and from this shim's own user.
    pub(super) fn accept(&mut self) {
        while self.sessions.len() < MAX_SESSIONS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // The client is gone already; or descriptors have run out, and it stays in the queue: the loop
                    // must not spin until some are free.
                    std::thread::sleep(Duration::from_millis(5));
                    return;
                }
            };
            let mut session = Session::new(stream.into(), Role::New);
            match socket_peercred(&session.socket) {
                Ok(peer) if peer.uid.is_root() || peer.uid == geteuid() => {}
                _ => session.fail(&Report::new(ErrorKind::PermissionDenied, "only root may speak to a shim")),
            }
            self.sessions.push(session);
        }
    }

    /// Whether more is to be read from this client now: not while its input waits for a process to take it.
    pub(super) fn hears(&self, session: &Session) -> bool {
        let full = |task: &Task| task.stdin.as_ref().is_some_and(|stdin| stdin.pending() >= IN_LIMIT);
        match session.role {
            _ if session.read_closed => false,
            Role::Attach(Attach { task, stdin: true, .. }) => !self.tasks.iter().any(|t| t.key == task && full(t)),
            _ => true,
        }
    }

    /// Goes on with a client that can take or give something.
    pub(super) fn serve(&mut self, index: usize, ready: PollFlags) {
        let session = &mut self.sessions[index];
        if ready.intersects(PollFlags::HUP | PollFlags::ERR) {
            session.hang_up();
            // What it has sent is still for its process; without one it is for nobody.
            if !matches!(session.role, Role::Attach(Attach { stdin: true, .. })) {
                session.read_closed = true;
            }
        } else if ready.contains(PollFlags::OUT) {
            session.flush();
        }
        if ready.intersects(PollFlags::IN | PollFlags::HUP) && self.hears(&self.sessions[index]) {
            self.hear(index);
        }
    }

    /// Reads once from a client.
    fn hear(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        match self.sessions[index].receive(&mut buffer) {
            Received::Nothing => {}
            Received::End => {
                self.sessions[index].read_closed = true;
                self.input_ended(index);
                if self.sessions[index].role == Role::New {
                    self.sessions[index].close();
                }
            }
            Received::Bytes => {
                let mut rest = &buffer[..];
                while !rest.is_empty() && !self.sessions[index].read_closed {
                    let mut decoder = std::mem::take(&mut self.sessions[index].decoder);
                    let fed = decoder.feed(rest);
                    self.sessions[index].decoder = decoder;
                    match fed {
                        Ok((used, item)) => {
                            rest = &rest[used..];
                            if let Some(item) = item {
                                self.take_item(index, item);
                            }
                        }
                        Err(error) => self.expel(index, &Report::from(&error)),
                    }
                }
            }
        }
        self.buffer = buffer;
    }

    fn take_item(&mut self, index: usize, item: Item<'_>) {
        match (self.sessions[index].role, item) {
            (Role::New, Item::Frame(Kind::Request, payload)) => match serde_json::from_slice(&payload) {
                Ok(request) => self.take_request(index, request),
                Err(error) => {
                    let text = format!("this is not a request: {error}");
                    self.expel(index, &Report::new(ErrorKind::InvalidArgument, text));
                }
            },
            (Role::Attach(attach), Item::Input(bytes)) => {
                if attach.stdin
                    && let Some(task) = self.task_mut(attach.task)
                {
                    task.give(bytes);
                }
            }
            (Role::Attach(_), Item::Frame(Kind::StdinEof, _)) => self.input_ended(index),
            (Role::Attach(attach), Item::Frame(Kind::Resize, payload)) => {
                // Sizes come unasked and unanswered; one that makes no sense is no reason to end a session.
                if let (Ok(Resize { rows, cols }), Some(task)) =
                    (serde_json::from_slice(&payload), self.task_mut(attach.task))
                {
                    let _ = task.resize(rows, cols);
                }
            }
            (Role::Attach(attach), Item::Frame(Kind::Detached, _)) => {
                self.sessions[index].role = Role::Attach(Attach { stdin: false, ..attach });
                self.sessions[index].hang_up();
                self.sessions[index].read_closed = true;
            }
            (_, Item::Input(_)) => self.expel(index, &unexpected("standard input")),
            (_, Item::Frame(kind, _)) => self.expel(index, &unexpected(&format!("a frame of kind {kind:?}"))),
        }
    }

    fn take_request(&mut self, index: usize, request: Request) {
        match request {
            Request::Attach { stdin, stdout, stderr } => self.attach(index, stdin, stdout, stderr),
            Request::Watch => {
                self.sessions[index].role = Role::Watch;
                self.sessions[index].send_json(Kind::Started, &self.started);
            }
            Request::Exec { exec_id, process, stdin, detach } => {
                let answer = self.exec(index, exec_id, *process, stdin, detach);
                self.report_failure(index, answer);
            }
            Request::Resize { exec_id, rows, cols } => {
                let answer = self.resize(exec_id.as_deref(), rows, cols);
                self.answer(index, answer);
            }
            Request::Pause => {
                let answer = self.pause(true);
                self.answer(index, answer);
            }
            Request::Resume => {
                let answer = self.pause(false);
                self.answer(index, answer);
            }
        }
    }

    /// Makes a client follow the container's own process.
    pub(super) fn attach(&mut self, index: usize, stdin: bool, stdout: bool, stderr: bool) {
        let session = &mut self.sessions[index];
        session.role = Role::Attach(Attach { task: TaskKey::INIT, stdin, stdout, stderr });
        session.send_json(Kind::Started, &self.started);
    }

    fn answer(&mut self, index: usize, answer: Result<(), Report>) {
        if answer.is_ok() {
            self.sessions[index].send(Kind::Ok, &[]);
            self.sessions[index].close();
        }
        self.report_failure(index, answer);
    }

    fn report_failure(&mut self, index: usize, answer: Result<(), Report>) {
        if let Err(report) = answer {
            self.sessions[index].fail(&report);
        }
    }

    fn resize(&self, exec_id: Option<&str>, rows: u16, cols: u16) -> Result<(), Report> {
        let Some(task) = self.tasks.iter().find(|task| task.exec_id.as_deref() == exec_id) else {
            let name = exec_id.unwrap_or_default();
            return Err(Report::new(ErrorKind::NotFound, format!("no exec {name:?} runs in this container")));
        };
        match task.resize(rows, cols) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Report::new(ErrorKind::Conflict, "the process has no terminal to resize")),
            Err(errno) => Err(Report::new(ErrorKind::Internal, format!("resize the terminal: {errno}"))),
        }
    }

    fn pause(&mut self, pause: bool) -> Result<(), Report> {
        if self.state.paused == pause {
            let already = if pause { "is already paused" } else { "is not paused" };
            return Err(Report::new(ErrorKind::Conflict, format!("the container {already}")));
        }
        let done = if pause { self.cgroup.freeze() } else { self.cgroup.thaw() };
        done.map_err(|error| Report::from(&error))?;
        self.state.paused = pause;
        self.write_change();
        Ok(())
    }

    /// Ends a session whose client breaks the rules.
    fn expel(&mut self, index: usize, report: &Report) {
        self.input_ended(index);
        self.sessions[index].fail(report);
    }

    /// A client's input has ended: with its process's, if that was started so.
    fn input_ended(&mut self, index: usize) {
        if let Role::Attach(attach @ Attach { stdin: true, .. }) = self.sessions[index].role {
            self.sessions[index].role = Role::Attach(Attach { stdin: false, ..attach });
            if let Some(task) = self.task_mut(attach.task) {
                task.client_input_ended();
            }
        }
    }

    fn task_mut(&mut self, key: TaskKey) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.key == key)
    }

    /// Drops the sessions in which nothing more will happen.
    pub(super) fn drop_finished_sessions(&mut self) {
        for index in 0..self.sessions.len() {
            if self.sessions[index].is_over() {
                self.input_ended(index);
                self.sessions[index].discard_input(&mut self.buffer);
            }
        }
        self.sessions.retain(|session| !session.is_over());
    }
}
