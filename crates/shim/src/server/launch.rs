// SPDX-License-Identifier: Apache-2.0
//! From a description to a running container; or, where that fails, to nothing left behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use errors::{Classify, Kind as ErrorKind, Report, kind_of_io};
use oci::runtime_spec::{LinuxNamespaceType, Spec};
use runtime::{ContainerProcess, LaunchError, LaunchRequest, Launched, Start, Step};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{setsid, umask};

use super::task::{Outer, Task, TaskKey, make_stdio};
use crate::clock;
use crate::connect::{SOCKET, socket_path};
use crate::frame::{FrameError, Kind, read_frame};
use crate::log::LogWriter;
use crate::process::ProcessRef;
use crate::protocol::{ShimRequest, Started};
use crate::state::{self, State};

/// Everything that came of a launch.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) dir: OwnedFd,
    pub(super) listener: UnixListener,
    pub(super) state: State,
    pub(super) log: Option<LogWriter>,
    pub(super) container: Container,
    pub(super) cgroup: Cgroup,
    pub(super) started: Started,
    pub(super) task: Task,
    pub(super) spec: Spec,
}

/// What is kept of the container for execs and for the end.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) process: ContainerProcess,
    /// The part of the spec that execs need, as JSON: a tenth of its size in memory.
    exec_spec: Vec<u8>,
    /// Held until the exit has been reported: letting go of it unmounts the root, which takes the kernel a while.
    rootfs: Option<OwnedFd>,
    /// Where compiled system call filters are kept.
    pub(super) filters: Option<PathBuf>,
    pub(super) trace: bool,
    /// Whether its first process's end is every process's end.
    pub(super) own_pid_namespace: bool,
}

/// Why a container was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("read the container's description")]
    Description(#[source] FrameError),
    #[error("the daemon went away before it said what to run")]
    NoDescription,
    #[error("the container's description is malformed")]
    Malformed(#[source] serde_json::Error),
    #[error("become the leader of a session and the reaper of orphans")]
    Detach(#[source] Errno),
    #[error("open the shim's directory {path:?}")]
    Directory {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("write state.json in {path:?}")]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("listen in {path:?}")]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("open the container's log {path:?}")]
    Log {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("make the container's standard streams")]
    Stdio(#[source] Errno),
    #[error("look at the container's process")]
    Process(#[source] io::Error),
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

impl Classify for StartError {
    fn kind(&self) -> ErrorKind {
        match self {
            StartError::Description(e) => e.kind(),
            StartError::NoDescription => ErrorKind::Unavailable,
            StartError::Malformed(_) => ErrorKind::InvalidArgument,
            StartError::Detach(e) | StartError::Stdio(e) | StartError::Directory { source: e, .. } => {
                kind_of_io(&io::Error::from(*e))
            }
            StartError::State { source, .. }
            | StartError::Listen { source, .. }
            | StartError::Log { source, .. }
            | StartError::Process(source) => kind_of_io(source),
            StartError::Launch(e) => e.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            StartError::Launch(e) => e.hint(),
            _ => None,
        }
    }
}

/// Reads the description from `control` and starts the container.
pub(super) fn launch(
    control: &OwnedFd,
    rootfs: Option<OwnedFd>,
    netns: Option<OwnedFd>,
) -> Result<Running, StartError> {
    let request = read_description(control)?;
    let mut steps = Vec::new();
    record(request.trace, &mut steps, "shim told");
    sys::prctl::set_name(c"corten-shim").map_err(|e| StartError::Detach(e.errno()))?;
    setsid().map_err(StartError::Detach)?;
    sys::prctl::set_child_subreaper(true).map_err(|e| StartError::Detach(e.errno()))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, &request.dir, flags, Mode::empty())
        .map_err(|source| StartError::Directory { path: request.dir.clone(), source })?;
    let launched = launch_in(&dir, request, rootfs, netns, steps);
    if launched.is_err() {
        for name in [SOCKET, "state.json", ".state.json.new"] {
            // Not there, or the whole directory is about to be removed by the daemon.
            let _ = unlinkat(&dir, name, AtFlags::empty());
        }
    }
    launched
}

fn read_description(control: &OwnedFd) -> Result<ShimRequest, StartError> {
    let io = |e| StartError::Description(FrameError::Io(e));
    match read_frame(File::from(control.try_clone().map_err(io)?)).map_err(StartError::Description)? {
        Some((Kind::Request, payload)) => serde_json::from_slice(&payload).map_err(StartError::Malformed),
        _ => Err(StartError::NoDescription),
    }
}

fn launch_in(
    dir: &OwnedFd,
    request: ShimRequest,
    rootfs: Option<OwnedFd>,
    netns: Option<OwnedFd>,
    mut steps: Vec<Step>,
) -> Result<Running, StartError> {
    let path = || request.dir.clone();
    let me = ProcessRef::of(rustix::process::getpid().as_raw_nonzero().get()).map_err(StartError::Process)?;
    let cgroup = request.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    let mut state = State { shim: me, init: None, cgroup, paused: false, log_lines_lost: 0, log_failure: None };
    let write_state = |state: &State| {
        state::write(dir, "state.json", state).map_err(|source| StartError::State { path: path(), source })
    };
    // Before anything else: a daemon that starts again meanwhile finds out whom to wait for.
    write_state(&state)?;
    let listener = listen(dir).map_err(|source| StartError::Listen { path: path(), source })?;
    let open_log = |config: crate::LogConfig| {
        let path = config.path.clone();
        LogWriter::open(config).map_err(|source| StartError::Log { path, source })
    };
    let log = request.log.clone().map(open_log).transpose()?;
    let process = request.spec.process().as_ref();
    let (stdio, outer) = make_stdio(process, request.terminal_size, request.open_stdin).map_err(StartError::Stdio)?;
    record(request.trace, &mut steps, "shim ready");
    let filters = filters(&request.dir);
    let launched = runtime::launch(LaunchRequest {
        id: &request.id,
        spec: &request.spec,
        bundle: &request.bundle,
        rootfs: rootfs.as_ref().map(AsFd::as_fd),
        netns: netns.as_ref().map(AsFd::as_fd),
        stdio,
        start: Start::Now,
        init: request.init,
        filters: filters.as_deref(),
        trace: request.trace,
    })?;
    drop(netns);
    // The daemon's containers are in no scope of systemd's.
    let Launched { pid, pidfd, terminal, cgroup, scope: _, steps: launch_steps, warnings } = launched;
    if request.trace {
        steps.extend(launch_steps);
    }
    state.cgroup = Some(cgroup.path().to_string().into());
    let adopted = adopt(pid, outer, terminal, &request, &mut state).and_then(|task| {
        write_state(&state)?;
        Ok(task)
    });
    let task = match adopted {
        Ok(task) => task,
        Err(error) => {
            abandon(&cgroup);
            return Err(error);
        }
    };
    let start_time = state.init.map_or(0, |init| init.start_time);
    Ok(Running {
        dir: dir.try_clone().map_err(StartError::Process)?,
        listener,
        state,
        log,
        container: Container {
            process: ContainerProcess { pid, pidfd },
            exec_spec: Vec::new(),
            rootfs,
            filters,
            trace: request.trace,
            own_pid_namespace: has_own_pid_namespace(&request.spec),
        },
        cgroup,
        started: Started { pid, start_time, at: clock::now(), steps, warnings },
        task,
        spec: request.spec,
    })
}

/// Takes the container's process under this shim's care.
fn adopt(
    pid: i32,
    outer: Outer,
    terminal: Option<OwnedFd>,
    request: &ShimRequest,
    state: &mut State,
) -> Result<Task, StartError> {
    // It may have ended already; it is not reaped yet, so its id is still its own.
    state.init = Some(ProcessRef::of(pid).map_err(StartError::Process)?);
    let outer = outer.with_terminal(terminal).map_err(StartError::Stdio)?;
    let mut task = Task::new(TaskKey::INIT, None, pid, outer);
    task.stdin_ends_with_client = request.stdin_once;
    if !request.open_stdin {
        // A terminal could always be written to.
        task.stdin = None;
    }
    Ok(task)
}

/// Ends a container that runs and cannot be looked after.
fn abandon(cgroup: &Cgroup) {
    // The failure that led here is what is reported. What stays in spite of this is removed when the daemon looks
    // for groups without a container.
    let _ = cgroup.kill();
    let _ = cgroup.remove();
}

/// The shim's socket, in a directory that is only root's; only root may connect even if the directory is opened up.
fn listen(dir: &OwnedFd) -> io::Result<UnixListener> {
    match unlinkat(dir, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let usual = umask(Mode::XUSR | Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(socket_path(dir));
    umask(usual);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether the spec asks for a new pid namespace, rather than to join one or to stay in the host's.
fn has_own_pid_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.is_some_and(|all| all.iter().any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none()))
}

fn record(trace: bool, steps: &mut Vec<Step>, name: &str) {
    if trace {
        steps.push(Step { name: name.to_owned(), at_ns: runtime::now_ns() });
    }
}

/// All shims share the filters that are kept beside the directory in which each has its own.
fn filters(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().nth(2).map(|root| root.join("filters"))
}

impl Container {
    /// Keeps of the spec what execs need.
    pub(super) fn remember(&mut self, mut spec: Spec) {
        spec.set_mounts(None).set_hooks(None).set_annotations(None).set_process(None);
        if let Some(mut linux) = spec.linux().clone() {
            linux.set_masked_paths(None).set_readonly_paths(None).set_devices(None).set_resources(None);
            spec.set_linux(Some(linux));
        }
        // It was read from JSON. An empty text would be refused when an exec reads it.
        self.exec_spec = serde_json::to_vec(&spec).unwrap_or_default();
    }

    /// Adds a step if a trace was asked for.
    pub(super) fn step(&self, steps: &mut Vec<Step>, name: &str) {
        record(self.trace, steps, name);
    }

    /// The spec, as far as execs need it.
    pub(super) fn exec_spec(&self) -> Result<Spec, Report> {
        // It is our own text.
        serde_json::from_slice(&self.exec_spec)
            .map_err(|e| Report::new(ErrorKind::Internal, format!("read the container's spec again: {e}")))
    }

    /// Lets go of the container's root.
    pub(super) fn release_root(&mut self) {
        self.rootfs = None;
    }
}
