// SPDX-License-Identifier: Apache-2.0
//! The end: the last output, the record, the farewell, and nothing left behind.

use std::time::{Duration, Instant};

use errors::{Kind as ErrorKind, Report};
use rustix::fs::{AtFlags, unlinkat};
use rustix::process::WaitStatus;

use super::session::Role;
use super::task::TaskKey;
use super::{CHUNK, ReadOutcome, Shim, flush_all};
use crate::clock;
use crate::connect::SOCKET;
use crate::frame::Kind;
use crate::log::LogStream;
use crate::protocol::Exit;
use crate::state;

/// The most that is read of a stream after its process has ended, in bytes: more than a pipe holds. It only matters
/// where somebody outside the container has the stream too and goes on writing.
const LAST_OUTPUT: usize = 4 << 20;
/// How long processes that have been killed may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The record of a process's end.
pub(super) fn exit_of(pid: i32, status: WaitStatus, oom_killed: bool) -> Exit {
    let signal = status.terminating_signal();
    let code = signal.map_or(status.exit_status().unwrap_or(255), |signal| 128 + signal);
    Exit { code, signal, oom_killed, at: clock::now(), pid, steps: Vec::new() }
}

impl Shim<'_> {
    /// The container's own process has ended with `status`. Returns the shim's exit code.
    pub(super) fn finish(mut self, status: WaitStatus) -> i32 {
        let mut exit = exit_of(self.started.pid, status, self.oom_killed());
        self.container.step(&mut exit.steps, "exit seen");
        // In a pid namespace of its own the kernel has ended all others before the first could be reaped.
        if !self.container.own_pid_namespace {
            self.end_leftovers();
        }
        self.drain_output(TaskKey::INIT);
        if let Some(log) = &mut self.log {
            log.end(LogStream::Stdout);
            log.end(LogStream::Stderr);
        }
        self.note_log_failure();
        self.container.step(&mut exit.steps, "output drained");
        let recorded = state::write(&self.dir, "exit.json", &exit).is_ok();
        self.container.step(&mut exit.steps, "exit recorded");
        self.tell_exit(&exit, |role| match role {
            Role::New => false,
            Role::Watch => true,
            Role::Attach(attach) => attach.task == TaskKey::INIT,
        });
        self.give_up_execs();
        self.tidy(recorded.then_some(()).ok_or(exit));
        let sessions = std::mem::take(&mut self.sessions);
        let (mut readers, watchers): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|s| s.role != Role::Watch);
        // The end of a watch session says that the tidying is done.
        drop(watchers);
        flush_all(&mut readers);
        // Whoever waits for the shim may remove the log's directory.
        if let Some(log) = &mut self.log {
            log.settle();
        }
        0
    }

    /// Sends the end of a process to those it concerns, after all that they still have to be sent.
    pub(super) fn tell_exit(&mut self, exit: &Exit, concerns: impl Fn(Role) -> bool) {
        for session in self.sessions.iter_mut().filter(|session| concerns(session.role)) {
            session.send_json(Kind::Exited, exit);
            session.close();
            session.discard_input(&mut self.buffer);
        }
    }

    /// Reads what a process that has ended left in its pipes or its terminal. Nothing waits here: a stream that would
    /// block is empty, since those who wrote to it are gone.
    pub(super) fn drain_output(&mut self, key: TaskKey) {
        let kinds = |shim: &Self| -> Vec<Kind> {
            shim.tasks.iter().filter(|t| t.key == key).flat_map(|t| t.sources.iter().map(|s| s.kind)).collect()
        };
        for kind in kinds(self) {
            for _ in 0..LAST_OUTPUT / CHUNK {
                if !matches!(self.read_output(key, kind), ReadOutcome::Bytes(_)) {
                    break;
                }
            }
        }
    }

    /// Whether the kernel has killed a process of this container for want of memory.
    pub(super) fn oom_killed(&self) -> bool {
        // Where it cannot be told (no memory controller) nothing was killed by its limit.
        self.cgroup.oom_kills().is_ok_and(|kills| kills > 0)
    }

    /// Ends every process that is still in the container's control group, and reaps those that came here.
    fn end_leftovers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut killed = false;
        while self.cgroup.processes().is_ok_and(|processes| !processes.is_empty()) && Instant::now() < deadline {
            if !killed {
                // What cannot be killed now is tried again when the group is removed.
                killed = self.cgroup.kill().is_ok();
            }
            let _ = self.reap();
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.reap();
    }

    /// Execs whose end was not seen: killed, and stuck in the kernel.
    fn give_up_execs(&mut self) {
        let report = Report::new(ErrorKind::Internal, "the container has ended and this process did not in time");
        for session in &mut self.sessions {
            if matches!(session.role, Role::Attach(attach) if attach.task != TaskKey::INIT) && !session.closing {
                session.fail(&report);
            }
        }
    }

    /// Lets go of mounts and root, removes the control group and the socket. `unrecorded`: the exit that could not be
    /// written, which is tried again for as long as the daemon may take to make room.
    fn tidy(&mut self, unrecorded: Result<(), Exit>) {
        self.container.release();
        // The socket first: who comes later finds nobody, and reads exit.json.
        let _ = unlinkat(&self.dir, SOCKET, AtFlags::empty());
        if self.cgroup.remove().is_err() {
            // Somebody was put into the group from outside meanwhile.
            let _ = self.cgroup.kill();
            self.end_leftovers();
        }
        // Left in state.json if it is still there: the daemon's next start removes it.
        if self.cgroup.remove().is_ok() {
            self.state.cgroup = None;
        }
        self.write_change();
        if let Err(exit) = unrecorded {
            for _ in 0..60 {
                if self.is_forsaken() || state::write(&self.dir, "exit.json", &exit).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}
