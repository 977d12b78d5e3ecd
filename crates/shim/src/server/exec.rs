// SPDX-License-Identifier: Apache-2.0
//! Further processes in the container.

use errors::{Kind as ErrorKind, Report};
use oci::runtime_spec::Process;
use runtime::ExecRequest;
use rustix::process::WaitStatus;

use super::Shim;
use super::finish::exit_of;
use super::session::{Attach, Role};
use super::task::{Task, TaskKey, make_stdio};
use crate::clock;
use crate::frame::Kind;
use crate::process::ProcessRef;
use crate::protocol::Started;
use crate::state::{self, exec_file, is_exec_id};

impl Shim<'_> {
    /// Starts `process` in the container for the client at `index`, and makes the client follow it.
    pub(super) fn exec(
        &mut self,
        index: usize,
        exec_id: String,
        process: Process,
        stdin: bool,
        detach: bool,
    ) -> Result<(), Report> {
        self.may_exec(&exec_id)?;
        let size = process.console_size().map(|size| (clamp(size.height()), clamp(size.width())));
        let stdio_failed = |e| Report::new(ErrorKind::Internal, format!("make the stdio of exec {exec_id:?}: {e}"));
        let (stdio, outer) = make_stdio(Some(&process), size, stdin && !detach).map_err(stdio_failed)?;
        let spec = self.container.exec_spec()?;
        let request = ExecRequest {
            container: &self.container.process,
            spec: &spec,
            filter: self.container.filter.as_deref(),
            process: &process,
            cgroup: &self.cgroup,
            stdio,
            filters: self.container.filters.as_deref(),
        };
        let launched = runtime::exec(request).map_err(|error| Report::from(&error))?;
        let outer = outer.with_terminal(launched.terminal).map_err(stdio_failed)?;
        let key = TaskKey(self.next_task);
        self.next_task += 1;
        // It may have ended already; it is not reaped before this function is done, so its id is still its own.
        let start_time = ProcessRef::of(launched.pid).map_or(0, |process| process.start_time);
        let steps = if self.container.trace { launched.steps } else { Vec::new() };
        let warnings = launched.warnings;
        let started = Started { pid: launched.pid, start_time, at: clock::now(), steps, warnings };
        let mut task = Task::new(key, Some(exec_id), launched.pid, outer);
        let session = &mut self.sessions[index];
        session.send_json(Kind::Started, &started);
        if detach {
            task.stdin = None;
            session.close();
        } else {
            session.role = Role::Attach(Attach { task: key, stdin, stdout: true, stderr: true });
        }
        self.tasks.push(task);
        Ok(())
    }

    fn may_exec(&self, exec_id: &str) -> Result<(), Report> {
        if !is_exec_id(exec_id) {
            let text = format!("{exec_id:?} is not an exec id: 1 to 128 letters, digits, `_` or `-`");
            return Err(Report::new(ErrorKind::InvalidArgument, text));
        }
        if self.tasks.iter().any(|task| task.exec_id.as_deref() == Some(exec_id)) {
            return Err(Report::new(ErrorKind::Conflict, format!("an exec {exec_id:?} runs already")));
        }
        if self.state.paused {
            // It would freeze on its way in, and the shim with it.
            return Err(Report::new(ErrorKind::Conflict, "the container is paused").with_hint("unpause it first"));
        }
        Ok(())
    }

    /// A child has ended that is not the container's own process: an exec, or an orphan that nobody asks about.
    pub(super) fn exec_ended(&mut self, pid: i32, status: WaitStatus) {
        let Some(at) = self.tasks.iter().position(|task| task.pid == pid && task.exec_id.is_some()) else { return };
        let key = self.tasks[at].key;
        self.drain_output(key);
        let exit = exit_of(pid, status, self.oom_killed());
        if let Some(exec_id) = &self.tasks[at].exec_id {
            // Whoever follows it is told below; a full disk must not stop the container.
            let _ = state::write(&self.dir, &exec_file(exec_id), &exit);
        }
        self.tasks.remove(at);
        self.tell_exit(&exit, |role| matches!(role, Role::Attach(attach) if attach.task == key));
    }
}

fn clamp(size: u64) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}
