// SPDX-License-Identifier: Apache-2.0
//! `exec`: one more process in a running container. The shim starts and reaps it; the engine remembers the wish between
//! `create` and `start`, and the exit code afterwards.

mod kept;
mod state;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use errors::{Classify as _, Kind};
use oci::ContainerId;
use rustix::fs::{CWD, Mode, OFlags, openat};
use shim::{Exit, ProcessRef, Request};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::Engine;
use crate::container::{Container, Running};
use crate::create::merge_env;
use crate::error::EngineError;
use crate::frames::{self, Frame};
use crate::request::ExecSpec;
use crate::session::{AttachedExec, Session};
use crate::{spec, user};
use state::lock;
pub(crate) use state::{ExecState, Execs};

/// The exit codes of an exec whose command is not there, and of one that could not be started for any other reason; Docker's.
const COMMAND_NOT_FOUND: i32 = 127;
const NOT_STARTED: i32 = 126;

/// How soon the exit of an exec's process is looked for after its end, and how seldom in the end.
const EXEC_FIRST_LOOK: Duration = Duration::from_millis(1);
const EXEC_LAST_LOOK: Duration = Duration::from_secs(1);

/// An exec session whose process has been started.
pub(crate) struct Executed {
    pub(crate) container: Arc<Container>,
    pub(crate) state: Arc<Mutex<ExecState>>,
    /// Its streams, as frames.
    pub(crate) stream: UnixStream,
    pub(crate) process: ProcessRef,
    pub(crate) spec: ExecSpec,
}

/// An exec session as its inspector sees it.
#[derive(Debug, Clone)]
pub struct ExecView {
    /// Its id.
    pub id: String,
    /// Its container.
    pub container: ContainerId,
    /// What was asked.
    pub spec: ExecSpec,
    /// Its process, as the host numbers it, once started.
    pub pid: Option<i32>,
    /// Whether it has been started and has not ended.
    pub running: bool,
    /// Its exit code, once ended.
    pub exit_code: Option<i32>,
}

impl Engine {
    /// Remembers the wish for a process in a running container.
    ///
    /// # Errors
    /// No such container, or it does not run; no command.
    pub fn exec_create(&self, name: &str, spec: ExecSpec) -> Result<String, EngineError> {
        let container = self.container(name)?;
        going(&container)?;
        if spec.command.first().is_none_or(String::is_empty) {
            return Err(EngineError::invalid("command", "no command was given"));
        }
        let mut random = [0; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| EngineError::io("read", "/dev/urandom")(errno.into()))?;
        let id = hex::encode(random);
        let state = ExecState::new(container.id.clone(), spec.clone());
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).remember(id.clone(), state);
        // Who hears of it finds it.
        container.tell_exec("exec_create", &id, &spec);
        Ok(id)
    }

    /// Says how large the terminal of a remembered process shall be, in rows and columns, when it is started.
    ///
    /// # Errors
    /// No such session.
    pub fn exec_sized(&self, id: &str, size: (u16, u16)) -> Result<(), EngineError> {
        let state = self.exec(id)?;
        state.lock().unwrap_or_else(PoisonError::into_inner).spec.console_size = Some(size);
        Ok(())
    }

    /// Starts a remembered process. Its streams, unless it was to be detached. Returns when the command was executed.
    ///
    /// # Errors
    /// What keeps the command from being executed; it may be started once only.
    pub async fn exec_start(self: &Arc<Self>, id: &str) -> Result<Option<Session>, EngineError> {
        let (engine, id) = (Arc::clone(self), id.to_owned());
        self.to_its_end("exec", async move {
            let Executed { container, state, stream, process, spec } = engine.exec_launch(&id).await?;
            engine.keep_exec(&container.id, &id, &spec, process);
            engine.tell_of_exec_end(Arc::clone(&container), id.clone(), process);
            Ok((!spec.detach).then(|| Session::of_exec(stream, AttachedExec { id, container, state }, spec.tty)))
        })
        .await
    }

    /// Starts a remembered process. Whoever calls sees to its end.
    pub(crate) async fn exec_launch(self: &Arc<Self>, id: &str) -> Result<Executed, EngineError> {
        let state = self.exec(id)?;
        let (container, spec) = {
            let state = lock(&state);
            (state.container.clone(), state.spec.clone())
        };
        let container = self.container(container.as_str())?;
        going(&container)?;
        lock(&state).begin(id)?;
        // As Docker does, before it is known whether there will be a process.
        container.tell_exec("exec_start", id, &spec);
        match self.exec_in_shim(&container, id, &spec).await {
            Ok((stream, process)) => {
                lock(&state).runs(process.pid);
                Ok(Executed { container, state, stream, process, spec })
            }
            Err(error) => {
                let code = match error.kind() {
                    Kind::CommandNotFound => COMMAND_NOT_FOUND,
                    _ => NOT_STARTED,
                };
                lock(&state).end(code);
                Err(error)
            }
        }
    }

    /// Has the shim start the process; its streams, as frames.
    async fn exec_in_shim(
        self: &Arc<Self>,
        container: &Arc<Container>,
        id: &str,
        spec: &ExecSpec,
    ) -> Result<(UnixStream, ProcessRef), EngineError> {
        let (engine, exec_id, spec, target) = (Arc::clone(self), id.to_owned(), spec.clone(), Arc::clone(container));
        let stream = self
            .blocking("exec", move || {
                let running = going(&target)?;
                let process = exec_process(&target, &running, &spec)?;
                let request =
                    Request::Exec { exec_id, process: Box::new(process), stdin: spec.stdin, detach: spec.detach };
                Ok(shim::connect(&engine.shim_dir(&target.id), &request)?)
            })
            .await?;
        let mut stream = frames::adopt(stream)?;
        match frames::read(&mut stream).await {
            Ok(Frame::Started(started)) => {
                Ok((stream, ProcessRef { pid: started.pid, start_time: started.start_time }))
            }
            Ok(Frame::Failed(report)) => Err(EngineError::Launch(report)),
            Ok(_) | Err(_) => Err(EngineError::ShimGone { id: container.id.short().to_owned() }),
        }
    }

    /// Forgets a session of the engine's own that has ended, and what its shim has recorded of it.
    pub(crate) fn exec_forget(&self, container: &ContainerId, id: &str) {
        let mut execs = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
        execs.forget(id);
        drop(execs);
        self.forget_exec_record(container, id);
    }

    /// Removes what a shim has recorded of an exec's end, and what was kept for a new daemon.
    fn forget_exec_record(&self, container: &ContainerId, id: &str) {
        let dir = self.shim_dir(container);
        if let Err(error) = shim::forget_exec_exit(&dir, id).and_then(|()| kept::forget(&dir, id)) {
            tracing::warn!(exec = id, %error, "the record of an exec's end stays until its container ends");
        }
    }

    /// Tells of the end of an exec's process when it comes, whether or not somebody is attached to it.
    fn tell_of_exec_end(self: &Arc<Self>, container: Arc<Container>, id: String, process: ProcessRef) {
        let engine = Arc::downgrade(self);
        self.handle.spawn(async move {
            if let Err(error) = ended(&process).await {
                tracing::warn!(exec = id, %error, "cannot wait for an exec's process: its end is looked for");
            }
            let mut wait = EXEC_FIRST_LOOK;
            // The shim records the exit when it has reaped the process and handed on what it wrote.
            loop {
                let Some(view) = engine.upgrade().and_then(|engine| engine.exec_inspect(&id).ok()) else { return };
                if let Some(code) = view.exit_code {
                    // Here it is remembered from now on: of a container that executes much, no files pile up.
                    if let Some(engine) = engine.upgrade() {
                        engine.forget_exec_record(&container.id, &id);
                    }
                    container.tell("exec_die", [("execID", id), ("exitCode", code.to_string())]);
                    return;
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(EXEC_LAST_LOOK);
            }
        });
    }

    /// What is known of an exec session.
    ///
    /// # Errors
    /// No such session.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecView, EngineError> {
        let shared = self.exec(id)?;
        let mut state = lock(&shared);
        if state.has_process() {
            let recorded: Option<Exit> = shim::read_exec_exit(&self.shim_dir(&state.container), id)?;
            // The shim's directory goes with its container, and every process of the container before it.
            let is_lost = || self.container(state.container.as_str()).and_then(|c| running(&c)).is_err();
            if let Some(code) = recorded.map(|exit| exit.code).or_else(|| is_lost().then_some(137)) {
                state.end(code);
            }
        }
        Ok(ExecView {
            id: id.to_owned(),
            container: state.container.clone(),
            spec: state.spec.clone(),
            pid: state.pid(),
            running: state.is_running(),
            exit_code: state.exit_code(),
        })
    }

    /// The exec sessions of a container that have not ended, in the order in which they came.
    pub fn execs_of(&self, container: &ContainerId) -> Vec<String> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).open_in(container)
    }

    /// Changes the size of an exec's terminal.
    ///
    /// # Errors
    /// No such session, or it does not run.
    pub async fn exec_resize(self: &Arc<Self>, id: &str, rows: u16, cols: u16) -> Result<(), EngineError> {
        let view = self.exec_inspect(id)?;
        self.send_resize(&view.container, Some(id.to_owned()), rows, cols).await
    }

    /// Changes the size of a container's terminal.
    ///
    /// # Errors
    /// No such container, or it does not run.
    pub async fn resize(self: &Arc<Self>, name: &str, rows: u16, cols: u16) -> Result<(), EngineError> {
        let container = self.container(name)?;
        running(&container)?;
        self.send_resize(&container.id, None, rows, cols).await?;
        container.tell("resize", [("height", rows.to_string()), ("width", cols.to_string())]);
        Ok(())
    }

    async fn send_resize(
        self: &Arc<Self>,
        container: &ContainerId,
        exec_id: Option<String>,
        rows: u16,
        cols: u16,
    ) -> Result<(), EngineError> {
        let dir = self.shim_dir(container);
        let request = Request::Resize { exec_id, rows, cols };
        let stream = self.blocking("resize", move || Ok(shim::connect(&dir, &request)?)).await?;
        match frames::read(&mut frames::adopt(stream)?).await {
            Ok(Frame::Failed(report)) => Err(EngineError::Launch(report)),
            Ok(_) => Ok(()),
            Err(_) => Err(EngineError::ShimGone { id: container.short().to_owned() }),
        }
    }

    fn exec(&self, id: &str) -> Result<Arc<Mutex<ExecState>>, EngineError> {
        let execs = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
        execs.get(id).ok_or_else(|| EngineError::NoSuchExec(id.to_owned()))
    }
}

/// Waits until a process has ended, if it has not yet.
async fn ended(process: &ProcessRef) -> io::Result<()> {
    let Some(pidfd) = process.open()? else { return Ok(()) };
    #[expect(
        deprecated,
        reason = "unsound only for what may give another descriptor each time; an OwnedFd keeps its own"
    )]
    let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
    // A descriptor of a process becomes readable when that has ended.
    pidfd.readable().await.map(drop)
}

/// The running state of a container that must run.
pub(crate) fn running(container: &Container) -> Result<Running, EngineError> {
    container.with_record(|record| {
        record.state.running().cloned().ok_or_else(|| EngineError::WrongState {
            name: record.name.clone(),
            status: record.state.status(),
            verb: "execute a command in",
        })
    })
}

/// The running state of a container that must run, and not stand still.
fn going(container: &Container) -> Result<Running, EngineError> {
    let running = running(container)?;
    if running.paused {
        let name = container.with_record(|record| record.name.clone());
        return Err(EngineError::WrongState { name, status: "paused", verb: "execute a command in" });
    }
    Ok(running)
}

fn exec_process(
    container: &Container,
    running: &Running,
    wish: &ExecSpec,
) -> Result<oci::runtime_spec::Process, EngineError> {
    let record = container.record();
    let root_path = format!("/proc/{}/root", running.pid);
    let root = openat(CWD, &root_path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| EngineError::io("open the root of", &root_path)(errno.into()))?;
    // The process number may have been given to another process meanwhile; the descriptor would then be another root.
    if crate::signal::pidfd(running)?.is_none() {
        return Err(EngineError::WrongState { name: record.name, status: "exited", verb: "execute a command in" });
    }
    use std::os::fd::AsFd;
    let user = wish.user.as_ref().unwrap_or(&record.process.user);
    let identity = user::look_up(root.as_fd(), user, &record.spec.isolation.groups)?;
    record.ids.map_or(Ok(()), |ids| ids.check(&identity))?;
    let mut env = merge_env(&record.process.env, &wish.env);
    spec::complete_env(&mut env, &spec::hostname(&record), &identity, wish.tty);
    let cwd = wish.working_dir.as_ref().unwrap_or(&record.process.cwd);
    spec::process_of(
        &wish.command,
        env,
        cwd,
        &identity,
        wish.tty.then_some(wish.console_size),
        &if wish.privileged { spec::all_capabilities() } else { spec::granted_capabilities(&record.spec)? },
        &record.spec,
    )
}
