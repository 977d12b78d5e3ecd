// SPDX-License-Identifier: Apache-2.0
//! Running hooks: the one place where the runtime starts programs that are not the container's, because the
//! specification has it do so. No thread is needed, so the container's first process can do it as well.
//!
//! A hook reads the container's state from its standard input, which is a file in memory: one that does not read it
//! blocks nobody. What it says is kept to its last part, and told when it fails.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use errors::{Classify, Kind};
use oci::ContainerId;
use oci::runtime_spec::{ContainerState, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, SeekFrom, memfd_create, seek};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::Serialize;
use sys::exec::StringList;
use sys::process::{Child, CloneError};

use crate::apply::Filter;
use crate::plan::{Hook, HookKind, PlanError, hooks};

/// How much of what a hook says is told.
const TOLD: usize = 2048;

/// What a hook is told of the container (runtime.md, "State"), but for what changes.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    version: String,
    id: String,
    bundle: PathBuf,
    annotations: HashMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: ContainerState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: &'a HashMap<String, String>,
}

impl Context {
    pub(crate) fn new(id: &ContainerId, bundle: PathBuf, spec: &Spec) -> Context {
        Context {
            version: spec.version().clone(),
            id: id.to_string(),
            bundle,
            annotations: spec.annotations().clone().unwrap_or_default(),
        }
    }

    /// The bundle's directory.
    pub(crate) fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// The specification's version that the container was made by.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The state of a container that is `status`. Its process as whoever reads it numbers it, if there is one.
    pub(crate) fn state(&self, status: ContainerState, pid: Option<i32>) -> State<'_> {
        State {
            oci_version: &self.version,
            id: &self.id,
            status,
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
        }
    }

    /// Runs the hooks of the runtime's side of a moment one after the other, in the bundle's directory.
    pub(crate) fn run_outside(&self, list: &[Hook], status: ContainerState, pid: Option<i32>) -> Result<(), HookError> {
        let own: Vec<CString> = std::env::vars_os().filter_map(|(name, value)| variable(name, value)).collect();
        list.iter().try_for_each(|hook| run(hook, &self.state(status, pid), &own, Place::Directory(&self.bundle), None))
    }

    /// Runs the hooks for a container that is gone. One that fails does not keep the others from running; what is
    /// returned is for the user to read.
    pub(crate) fn run_poststop(&self, spec: &Spec) -> Vec<String> {
        let list = match hooks(spec, HookKind::Poststop) {
            Ok(list) => list,
            Err(error) => return vec![error.to_string()],
        };
        let failed = |hook: &Hook| {
            let result = self.run_outside(std::slice::from_ref(hook), ContainerState::Stopped, None);
            result.err().map(|error| errors::Report::from(&error).message)
        };
        list.iter().filter_map(failed).collect()
    }

    /// Runs the hooks for a container whose command was executed.
    pub(crate) fn run_poststart(&self, spec: &Spec, pid: i32) -> Result<(), HookError> {
        let list = hooks(spec, HookKind::Poststart).map_err(HookError::Plan)?;
        self.run_outside(&list, ContainerState::Running, Some(pid))
    }
}

fn variable(name: std::ffi::OsString, value: std::ffi::OsString) -> Option<CString> {
    use std::os::unix::ffi::OsStringExt;
    CString::new([name.into_vec(), value.into_vec()].join(&b'=')).ok()
}

/// Where a hook runs.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// In this directory.
    Directory(&'a Path),
    /// In the directory behind this descriptor.
    Descriptor(BorrowedFd<'a>),
    /// Where whoever runs it is.
    Here,
}

/// A hook that did not do what it was to.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It cannot be run as it is written.
    #[error(transparent)]
    Plan(PlanError),
    /// It was not run.
    #[error("error running {hook}: start {path}", path = path.display())]
    NotRun {
        /// Which: `createRuntime hook #0`.
        hook: String,
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: CloneError,
    },
    /// It failed.
    #[error("error running {hook}: {path} ended with {status}{said}", path = path.display())]
    Failed {
        /// Which: `createRuntime hook #0`.
        hook: String,
        /// The program.
        path: PathBuf,
        /// How it ended.
        status: String,
        /// The last of what it said.
        said: String,
    },
    /// It took too long, and was killed.
    #[error("error running {hook}: {path} did not end within {seconds} s{said}", path = path.display())]
    TimedOut {
        /// Which: `createRuntime hook #0`.
        hook: String,
        /// The program.
        path: PathBuf,
        /// How long it had.
        seconds: u64,
        /// The last of what it said.
        said: String,
    },
}

impl Classify for HookError {
    fn kind(&self) -> Kind {
        match self {
            HookError::Plan(error) => error.kind(),
            _ => Kind::Internal,
        }
    }
}

/// Runs one hook and waits for it. `environment` is its environment where it has none of its own, `filter` a system call
/// filter that it gets besides what its runner has.
pub(crate) fn run(
    hook: &Hook,
    state: &State<'_>,
    environment: &[CString],
    place: Place<'_>,
    filter: Option<&Filter>,
) -> Result<(), HookError> {
    let not_run = |source| HookError::NotRun { hook: hook.name(), path: hook.path.clone(), source };
    let (child, output) = start(hook, state, environment, place, filter).map_err(not_run)?;
    let mut said = Vec::new();
    let ended = wait(&child, &output, hook.timeout, &mut said);
    if !matches!(ended, Ok(true)) {
        kill(&child);
    }
    let status = collect(&child);
    let in_time = ended.map_err(|error| not_run(error.into()))?;
    let status = status.map_err(|error| not_run(error.into()))?;
    let text = String::from_utf8_lossy(&said).trim().to_owned();
    let said = if text.is_empty() { text } else { format!(": {text}") };
    let (name, path) = (hook.name(), hook.path.clone());
    match (in_time, status) {
        (true, None) => Ok(()),
        (true, Some(status)) => Err(HookError::Failed { hook: name, path, status, said }),
        (false, _) => Err(HookError::TimedOut { hook: name, path, seconds: hook.timeout.unwrap_or_default(), said }),
    }
}

fn start(
    hook: &Hook,
    state: &State<'_>,
    environment: &[CString],
    place: Place<'_>,
    filter: Option<&Filter>,
) -> Result<(Child, OwnedFd), CloneError> {
    let input = input(state)?;
    let (output, output_inside) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| sys::Error::new("pipe2(O_CLOEXEC)", errno))?;
    rustix::fs::fcntl_setfl(&output, OFlags::NONBLOCK)
        .map_err(|errno| sys::Error::new("fcntl(output, F_SETFL, O_NONBLOCK)", errno))?;
    // The plan made sure that no text has a NUL byte.
    let list = |texts: &[String]| texts.iter().filter_map(|text| CString::new(text.as_str()).ok()).collect();
    let path = CString::new(hook.path.to_string_lossy().as_bytes()).unwrap_or_default();
    let arguments = StringList::new(list(&hook.arguments));
    let environment = StringList::new(hook.environment.as_deref().map_or_else(|| environment.to_vec(), list));
    let own_group = hook.timeout.is_some();
    let child = sys::process::clone_plain(|| {
        let program = (&path, &arguments, &environment);
        let failed = execute(program, [&input, &output_inside], place, own_group, filter);
        // Standard error is what its runner listens to, or still the runner's own.
        rustix::io::write(rustix::stdio::stderr(), failed.to_string().as_bytes()).unwrap_or_default();
        127
    })?;
    Ok((child, output))
}

fn input(state: &State<'_>) -> sys::Result<OwnedFd> {
    let text = serde_json::to_vec(state).map_err(|_| sys::Error::new("encode the state", Errno::INVAL))?;
    let file = memfd_create("state", MemfdFlags::CLOEXEC)
        .map_err(|errno| sys::Error::new("memfd_create(\"state\", MFD_CLOEXEC)", errno))?;
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))
            .map_err(|errno| sys::Error::new("write(state)", errno))?;
        rest = &rest[written..];
    }
    seek(&file, SeekFrom::Start(0)).map_err(|errno| sys::Error::new("lseek(state, 0, SEEK_SET)", errno))?;
    Ok(file)
}

/// In the hook's process: its streams, no other descriptor, signals as a fresh program expects them. Returns only when
/// something failed.
fn execute(
    (path, arguments, environment): (&CString, &StringList, &StringList),
    [input, output]: [&OwnedFd; 2],
    place: Place<'_>,
    own_group: bool,
    filter: Option<&Filter>,
) -> sys::Error {
    let prepare = || -> sys::Result<()> {
        let directory = match place {
            Place::Directory(path) => {
                rustix::process::chdir(path).map_err(|errno| sys::Error::new(format!("chdir({path:?})"), errno))
            }
            Place::Descriptor(fd) => {
                rustix::process::fchdir(fd).map_err(|errno| sys::Error::new("fchdir(rootfs)", errno))
            }
            Place::Here => Ok(()),
        };
        // So that what it starts can be killed with it.
        if own_group {
            rustix::process::setpgid(None, None).map_err(|errno| sys::Error::new("setpgid(0, 0)", errno))?;
        }
        let error = |number: u32| move |errno| sys::Error::new(format!("dup2(…, {number})"), errno);
        rustix::stdio::dup2_stdin(input).map_err(error(0))?;
        rustix::stdio::dup2_stdout(output).map_err(error(1))?;
        rustix::stdio::dup2_stderr(output).map_err(error(2))?;
        sys::fds::cloexec_from(3)?;
        directory?;
        sys::signal::reset_ignored();
        sys::signal::unblock_all()?;
        filter.map_or(Ok(()), |filter| sys::seccomp::install(&filter.instructions, filter.flags))
    };
    match prepare() {
        Ok(()) => sys::exec::execve(path, arguments, environment),
        Err(error) => error,
    }
}

/// Waits for the end, and keeps the last of what is said. False: it takes too long.
fn wait(child: &Child, output: &OwnedFd, timeout: Option<u64>, said: &mut Vec<u8>) -> sys::Result<bool> {
    let end = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    let mut open = true;
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let patience = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = vec![PollFd::new(&child.pidfd, PollFlags::IN)];
        if open {
            fds.push(PollFd::new(output, PollFlags::IN));
        }
        match poll(&mut fds, patience.as_ref()) {
            Ok(0) => return Ok(false),
            Err(Errno::INTR) => continue,
            other => drop(other.map_err(|errno| sys::Error::new("poll(hook, output)", errno))?),
        }
        let ended = !fds[0].revents().is_empty();
        if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
            open = keep(output, said)?;
        }
        if ended {
            // What it started may hold the pipe open for as long as it likes.
            keep(output, said)?;
            return Ok(true);
        }
    }
}

/// Reads what is there; false at the end.
fn keep(output: &OwnedFd, said: &mut Vec<u8>) -> sys::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                said.extend_from_slice(&buffer[..length]);
                let surplus = said.len().saturating_sub(TOLD);
                said.drain(..surplus);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(true),
            Err(errno) => return Err(sys::Error::new("read(output)", errno)),
        }
    }
}

/// Kills a hook and what it started, as far as that stayed in its group. It is not collected yet, so that its number
/// is nobody else's.
fn kill(child: &Child) {
    if let Some(group) = Pid::from_raw(child.pid) {
        kill_process_group(group, Signal::KILL).unwrap_or_default();
    }
    sys::process::pidfd_send_signal(child.pidfd.as_fd(), 9).unwrap_or_default();
}

/// Collects an ended hook; how it ended, unless well.
fn collect(child: &Child) -> sys::Result<Option<String>> {
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED))
        .map_err(|errno| sys::Error::new("waitid(P_PIDFD, WEXITED)", errno))?;
    Ok(match status.map(|status| (status.terminating_signal(), status.exit_status())) {
        Some((None, Some(0))) => None,
        Some((Some(signal), _)) => Some(format!("signal {signal}")),
        Some((_, Some(code))) => Some(format!("exit code {code}")),
        _ => Some("an unknown status".into()),
    })
}
