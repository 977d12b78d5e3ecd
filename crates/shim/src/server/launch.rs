// SPDX-License-Identifier: Apache-2.0
//! From a description to a running container; or, where that fails, to nothing left behind.

use std::borrow::Cow;
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
use serde_json::value::RawValue;
use sys::process::CloneFlags;

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
    pub(super) listener: UnixListener,
    pub(super) state: State,
    pub(super) log: Option<LogWriter>,
    pub(super) container: Container,
    pub(super) cgroup: Cgroup,
    pub(super) started: Started,
    pub(super) task: Task,
    /// A control group that was made ahead and is not where the container's had to be.
    pub(super) surplus: Option<Cgroup>,
}

/// What is kept of the container for execs and for the end.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) process: ContainerProcess,
    spec: KeptSpec,
    /// The profile of its filter, where the spec has none.
    pub(super) filter: Option<Box<RawValue>>,
    /// Held until the exit has been reported.
    held: Held,
    /// Where compiled system call filters are kept.
    pub(super) filters: Option<PathBuf>,
    pub(super) trace: bool,
    /// Whether its first process's end is every process's end.
    pub(super) own_pid_namespace: bool,
}

/// The spec, for execs.
#[derive(Debug)]
enum KeptSpec {
    /// As it came.
    Whole(Box<Spec>),
    /// The part that execs need, as JSON: a tenth of its size in memory.
    Text(Vec<u8>),
}

/// What the kernel takes a while to take down, as soon as nobody has it any more. With the last process of the container gone
/// that would be within that process's end, and everybody who waits for the exit would wait for it.
#[derive(Debug, Default)]
struct Held {
    /// Its mounts, and so all that is mounted there.
    mounts: Option<OwnedFd>,
    /// Its message queues are a mount, too.
    ipc: Option<OwnedFd>,
    rootfs: Option<OwnedFd>,
    netns: Option<OwnedFd>,
}

impl Held {
    /// Holds namespaces of the container too.
    fn namespaces(&mut self, process: &ContainerProcess, request: &ShimRequest) {
        if has_own_mounts(&request.spec, &request.bundle) {
            self.mounts = namespace_of(process, CloneFlags::NEWNS, "mnt");
        }
        self.ipc = namespace_of(process, CloneFlags::NEWIPC, "ipc");
    }
}

/// This process, once it belongs to no session but its own and is the parent of its descendants' orphans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Itself(ProcessRef);

impl Itself {
    /// Makes it so.
    pub(crate) fn detached() -> Result<Itself, StartError> {
        setsid().map_err(StartError::Detach)?;
        sys::prctl::set_child_subreaper(true).map_err(|e| StartError::Detach(e.errno()))?;
        let shim = ProcessRef::of(rustix::process::getpid().as_raw_nonzero().get());
        shim.map(Itself).map_err(StartError::Process)
    }
}

/// Why a container was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
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

/// Reads the description from `control` and starts the container. The shim's directory, and what came of it.
pub(super) fn launch(
    control: &OwnedFd,
    rootfs: Option<OwnedFd>,
    netns: Option<OwnedFd>,
    itself: Option<Itself>,
    mut ahead: Option<Cgroup>,
) -> Result<(OwnedFd, Running), StartError> {
    let launched = launch_told(control, rootfs, netns, itself, &mut ahead);
    match (launched, ahead) {
        (Err(error), unused) => {
            // The error is what is told. A group that stays is found by the daemon's next start.
            let _ = unused.map_or(Ok(()), |unused| unused.undo());
            Err(error)
        }
        (Ok((dir, running)), surplus) => Ok((dir, Running { surplus, ..running })),
    }
}

/// The control group made `ahead` is taken from there if it is the container's.
fn launch_told(
    control: &OwnedFd,
    rootfs: Option<OwnedFd>,
    netns: Option<OwnedFd>,
    itself: Option<Itself>,
    ahead: &mut Option<Cgroup>,
) -> Result<(OwnedFd, Running), StartError> {
    let request = read_description(control)?;
    let mut steps = Vec::new();
    record(request.trace, &mut steps, "shim told");
    sys::prctl::set_name(c"corten-shim").map_err(|e| StartError::Detach(e.errno()))?;
    let Itself(shim) = itself.map_or_else(Itself::detached, Ok)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, &request.dir, flags, Mode::empty())
        .map_err(|source| StartError::Directory { path: request.dir.clone(), source })?;
    match launch_in(&dir, shim, request, Held { rootfs, netns, ..Held::default() }, ahead, steps) {
        Ok(running) => Ok((dir, running)),
        Err(error) => {
            for name in [SOCKET, "state.json", ".state.json.new"] {
                // Not there, or the whole directory is about to be removed by the daemon.
                let _ = unlinkat(&dir, name, AtFlags::empty());
            }
            Err(error)
        }
    }
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
    shim: ProcessRef,
    request: ShimRequest,
    mut held: Held,
    ahead: &mut Option<Cgroup>,
    mut steps: Vec<Step>,
) -> Result<Running, StartError> {
    let (listener, mut state) = appear(dir, shim, &request)?;
    let open_log = |config: crate::LogConfig| {
        let path = config.path.clone();
        LogWriter::open(config).map_err(|source| StartError::Log { path, source })
    };
    let log = request.log.clone().map(open_log).transpose()?;
    let (stdio, outer) = make_stdio(request.spec.process().as_ref(), request.terminal_size, request.open_stdin)
        .map_err(StartError::Stdio)?;
    record(request.trace, &mut steps, "shim ready");
    let filters = filters(&request.dir);
    let launched = runtime::launch(LaunchRequest {
        id: &request.id,
        spec: &request.spec,
        bundle: &request.bundle,
        rootfs: held.rootfs.as_ref().map(AsFd::as_fd),
        netns: held.netns.as_ref().map(AsFd::as_fd),
        cgroup: ahead.take_if(|ahead| state.cgroup.as_deref() == Some(Path::new(&ahead.path().to_string()))),
        filter: request.filter.as_deref(),
        stdio,
        start: Start::Now,
        init: request.init,
        filters: filters.as_deref(),
        trace: request.trace,
    })?;
    // The daemon's containers are in no scope of systemd's.
    let Launched { pid, pidfd, terminal, cgroup, scope: _, steps: launch_steps, warnings } = launched;
    if request.trace {
        steps.extend(launch_steps);
    }
    let task = adopt(pid, outer, terminal, &request).inspect_err(|_| abandon(&cgroup))?;
    // It may have ended already; it is not reaped yet, so its id is still its own.
    let init = ProcessRef::of(pid).map_err(StartError::Process).inspect_err(|_| abandon(&cgroup))?;
    let process = ContainerProcess { pid, pidfd };
    held.namespaces(&process, &request);
    let at = clock::now();
    state.cgroup = Some(cgroup.path().to_string().into());
    (state.init, state.started) = (Some(init), Some(at.clone()));
    Ok(Running {
        listener,
        state,
        log,
        container: Container {
            process,
            own_pid_namespace: has_own_pid_namespace(&request.spec),
            spec: KeptSpec::Whole(Box::new(request.spec)),
            filter: request.filter,
            held,
            filters,
            trace: request.trace,
        },
        cgroup,
        started: Started { pid, start_time: init.start_time, at, steps, warnings },
        task,
        surplus: None,
    })
}

/// Makes the shim one that can be found: its socket, then its state. A daemon that starts again meanwhile and finds the state
/// knows whom to ask, and hears of the start on the socket when there is something to hear.
fn appear(dir: &OwnedFd, shim: ProcessRef, request: &ShimRequest) -> Result<(UnixListener, State), StartError> {
    let path = || request.dir.clone();
    let listener = listen(dir).map_err(|source| StartError::Listen { path: path(), source })?;
    let cgroup = request.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    let state = State { cgroup, ..State::of(shim) };
    state::write(dir, "state.json", &state).map_err(|source| StartError::State { path: path(), source })?;
    Ok((listener, state))
}

/// Takes the container's process under this shim's care.
fn adopt(pid: i32, outer: Outer, terminal: Option<OwnedFd>, request: &ShimRequest) -> Result<Task, StartError> {
    let outer = outer.with_terminal(terminal).map_err(StartError::Stdio)?;
    let mut task = Task::new(TaskKey::INIT, None, pid, outer);
    task.stdin_ends_with_client = request.stdin_once;
    if !request.open_stdin {
        // A terminal could always be written to.
        task.stdin = None;
    }
    Ok(task)
}

/// Whether nothing is mounted in the container but what is made for it. Otherwise its mounts go with its last process: who takes
/// a disk away as soon as a `run` has ended must not find it in use.
fn has_own_mounts(spec: &Spec, bundle: &Path) -> bool {
    let is_bound = |option: &String| matches!(option.as_str(), "bind" | "rbind");
    spec.mounts().iter().flatten().all(|mount| {
        let bound = mount.typ().as_deref() == Some("bind") || mount.options().iter().flatten().any(is_bound);
        !bound || mount.source().as_ref().is_some_and(|source| source.starts_with(bundle))
    })
}

/// A namespace of a process that this one has not reaped. Without it, as of one that has ended, its end is seen later.
fn namespace_of(process: &ContainerProcess, kind: CloneFlags, name: &str) -> Option<OwnedFd> {
    let by_pidfd = sys::namespace::of_process(process.pidfd.as_fd(), kind);
    let by_name = || {
        let path = format!("/proc/{}/ns/{name}", process.pid);
        openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    };
    by_pidfd.ok().or_else(|| by_name().ok())
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
    pub(super) fn forget_rest_of_spec(&mut self) {
        let KeptSpec::Whole(spec) = &mut self.spec else { return };
        spec.set_mounts(None).set_hooks(None).set_annotations(None).set_process(None);
        if let Some(linux) = spec.linux_mut() {
            linux.set_masked_paths(None).set_readonly_paths(None).set_devices(None).set_resources(None);
        }
        // It was read from JSON. An empty text would be refused when an exec reads it.
        self.spec = KeptSpec::Text(serde_json::to_vec(spec).unwrap_or_default());
    }

    /// Adds a step if a trace was asked for.
    pub(super) fn step(&self, steps: &mut Vec<Step>, name: &str) {
        record(self.trace, steps, name);
    }

    /// The spec, as far as execs need it.
    pub(super) fn exec_spec(&self) -> Result<Cow<'_, Spec>, Report> {
        match &self.spec {
            KeptSpec::Whole(spec) => Ok(Cow::Borrowed(spec)),
            // It is our own text.
            KeptSpec::Text(text) => serde_json::from_slice(text)
                .map(Cow::Owned)
                .map_err(|e| Report::new(ErrorKind::Internal, format!("read the container's spec again: {e}"))),
        }
    }

    /// Lets go of the container's mounts, its root and its network.
    pub(super) fn release(&mut self) {
        self.held = Held::default();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_mounts_of_who_has_something_of_the_hosts_are_not_held() {
        let own = |mounts: serde_json::Value| {
            let spec = json!({ "ociVersion": "1.2.0", "mounts": mounts });
            has_own_mounts(&serde_json::from_value(spec).unwrap(), Path::new("/data/containers/c"))
        };
        let bind = |source: &str| json!({ "destination": "/x", "source": source, "options": ["rbind", "ro"] });
        let proc = json!({ "destination": "/proc", "type": "proc", "source": "proc" });
        assert!(own(json!([])));
        assert!(own(json!([proc, bind("/data/containers/c/hosts")])));
        assert!(!own(json!([proc, bind("/mnt/disk")])));
        assert!(!own(json!([bind("/data/containers/c-other/hosts")])));
        assert!(!own(json!([{ "destination": "/x", "type": "bind", "source": "/mnt/disk" }])));
        assert!(!own(json!([{ "destination": "/x", "source": "relative", "options": ["bind"] }])));
    }
}
