// SPDX-License-Identifier: Apache-2.0
//! Starting a container: the launcher's side.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use cgroup::systemd::Scope;
use oci::ContainerId;
use oci::runtime_spec::{LinuxNamespaceType, Spec};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::value::RawValue;
use sys::process::{Child, CloneArgs, CloneFlags};

use crate::adopt::{Told, Ward};
use crate::apply::{self, Prepared};
use crate::error::LaunchError;
use crate::hooks::Context;
use crate::listener::Listener;
use crate::message::{Heard, Step, listen};
use crate::namespaces::clone_in;
use crate::plan::{Caller, Inputs, Plan, plan};
use crate::scope::Place;
use crate::security_modules::security_modules;
use crate::{prepare, protect};

/// What becomes the process's standard input, output and error.
#[derive(Debug)]
pub enum Stdio {
    /// The launcher's own.
    Inherit,
    /// These descriptors.
    Fds {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal in the container's devpts; its other side is [`Launched::terminal`].
    Terminal {
        /// Rows and columns.
        size: Option<(u16, u16)>,
    },
}

/// When the command is executed.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// At once. The container dies with the process that launches it.
    Now,
    /// When somebody reads from this fifo (the OCI command line's `create` and `start`): spaces, which fill it until
    /// then, and what the container's process says from then on. The container outlives its launcher.
    WaitFor(&'a Path),
}

/// A container to start.
#[derive(Debug)]
pub struct LaunchRequest<'a> {
    /// Its id: names its cgroup when the spec does not.
    pub id: &'a ContainerId,
    /// What it is.
    pub spec: &'a Spec,
    /// The directory that relative paths of the spec are relative to.
    pub bundle: &'a Path,
    /// A detached mount (`fsmount`, `open_tree`) to use as the root file system instead of `root.path`.
    pub rootfs: Option<BorrowedFd<'a>>,
    /// A prepared network namespace, entered where the spec asks for a new one.
    pub netns: Option<BorrowedFd<'a>>,
    /// Its cgroup, made ahead by [`make_cgroup_ahead`](crate::make_cgroup_ahead). Used if it is where the spec wants one.
    pub cgroup: Option<Cgroup>,
    /// The profile of its system call filter as JSON, for a spec that has none: it is read only where no compiled one is
    /// kept. One that asks nobody (`SCMP_ACT_NOTIFY`).
    pub filter: Option<&'a RawValue>,
    /// Its standard streams.
    pub stdio: Stdio,
    /// When its command is executed.
    pub start: Start<'a>,
    /// Whether its first process is an init of ours (`init`), and the command a child of that. Only with [`Start::Now`], of a
    /// program that is an init when it is called so.
    pub init: bool,
    /// Where compiled system call filters are kept for the next time: a directory of the caller's alone.
    pub filters: Option<&'a Path>,
    /// Whether each step is timed.
    pub trace: bool,
}

/// What the OCI command line asks for beyond [`LaunchRequest`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extras {
    pub(crate) preserve_fds: u32,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
    /// Leave the container running when the launcher ends.
    pub(crate) outlives_launcher: bool,
    /// Have systemd make the cgroup.
    pub(crate) systemd_cgroup: bool,
    /// Whether doing without a cgroup is acceptable; by default, for whoever is not the host's root.
    pub(crate) rootless: Option<bool>,
    /// The container's terminal leaves the ends of lines as they are: it is shown on another, which sees to them.
    pub(crate) plain_newlines: bool,
}

/// A started container.
#[derive(Debug)]
pub struct Launched {
    /// Its first process, as the launcher's pid namespace numbers it. It is the launcher's child.
    pub pid: i32,
    /// A descriptor of that process.
    pub pidfd: OwnedFd,
    /// The user's side of its terminal.
    pub terminal: Option<OwnedFd>,
    /// Its cgroup.
    pub cgroup: Cgroup,
    /// systemd's scope that has this cgroup, where systemd made it.
    pub scope: Option<Scope>,
    /// What was done, and when, if that was asked for.
    pub steps: Vec<Step>,
    /// What was asked for and could not be had, without which it still runs; for the user to read.
    pub warnings: Vec<String>,
}

/// Starts a container. Returns when its command has been executed, or it waits on the fifo.
///
/// The caller must have one thread, and have been executed through [`protect::reexec`].
///
/// # Errors
/// [`LaunchError`]; its kind tells a missing command (`CommandNotFound`) and one that cannot be executed
/// (`NotExecutable`) from the rest. Nothing is left behind then: no process, no cgroup.
pub fn launch(request: LaunchRequest<'_>) -> Result<Launched, LaunchError> {
    let (id, spec, bundle) = (request.id, request.spec, request.bundle);
    let runs = matches!(request.start, Start::Now);
    let launched = launch_with(request, Extras::default())?;
    if runs && spec.hooks().is_some() {
        let context = Context::new(id, absolute(bundle)?, spec);
        if let Err(error) = context.run_poststart(spec, launched.pid) {
            let killed = launched.cgroup.kill();
            let ended = end(&Child { pid: launched.pid, pidfd: launched.pidfd });
            let error = LaunchError::from(error).undone(killed).undone(ended).undone(launched.cgroup.undo());
            drop(context.run_poststop(spec));
            return Err(error);
        }
    }
    Ok(launched)
}

/// What hooks are told, where there are any.
fn hook_context(request: &LaunchRequest<'_>, inputs: &Inputs) -> Option<Context> {
    request.spec.hooks().as_ref().map(|_| Context::new(request.id, inputs.bundle.clone(), request.spec))
}

pub(crate) fn launch_with(mut request: LaunchRequest<'_>, extras: Extras) -> Result<Launched, LaunchError> {
    let mut ahead = request.cgroup.take();
    let launched = launch_in(request, extras, &mut ahead);
    match (launched, ahead) {
        (Err(error), Some(unused)) => Err(error.undone(unused.undo().map_err(LaunchError::Cgroup))),
        (launched, _) => launched,
    }
}

/// [`launch_with`] the cgroup that was made `ahead`, which is taken from there when it is used.
fn launch_in(request: LaunchRequest<'_>, extras: Extras, ahead: &mut Option<Cgroup>) -> Result<Launched, LaunchError> {
    protect::verify()?;
    let mut steps = Vec::new();
    let mut step = |name: &str| {
        if request.trace {
            steps.push(Step::now(name));
        }
    };
    let inputs = inputs(&request, extras)?;
    let plan = plan(request.spec, &inputs)?;
    step("plan");
    let filter = prepare::filter(request.spec, request.filter, request.filters)?;
    step("compile the system call filter");
    // The plan has a process, or there would be none.
    let process = request.spec.process().clone().unwrap_or_default();
    let fifo = match request.start {
        Start::Now => None,
        Start::WaitFor(path) => Some(fill_fifo(path)?),
    };
    let context = hook_context(&request, &inputs);
    let listener = prepare::notifying(request.spec, &plan).map(|profile| {
        let context = Context::new(request.id, inputs.bundle.clone(), request.spec);
        Listener::new(profile, context, &inputs.bundle, None)
    });
    let streams = prepare::streams(request.stdio)?;
    let namespaces = prepare::namespaces(&plan)?;
    let trees = prepare::trees(&plan)?;
    let channel = Channel::open(streams.terminal, plan.asks())?;
    let rootless = extras.rootless.unwrap_or(inputs.caller != Caller::Root);
    let mut place = Place::make(request.spec, request.id, extras.systemd_cgroup, rootless, ahead)?;
    if has_user_namespace(request.spec) {
        // What was made for it ahead is the host's root's, who is nobody there.
        drop(place.cgroup.take_shown());
    }
    step("make the cgroup");
    let prepared = Prepared {
        plan: &plan,
        rootfs: request.rootfs,
        netns: request.netns,
        container: None,
        tasks: Vec::new(),
        cgroup: None,
        stdio: streams.stdio,
        console: channel.console_inside,
        size: streams.size,
        plain_newlines: extras.plain_newlines,
        program: prepare::program(&process),
        filter,
        fifo,
        init: request.init.then(prepare::own_program).transpose()?,
        status: channel.status_inside,
        answers: channel.answers_inside,
        trees,
        namespaces,
        hooks: context.as_ref(),
        listener: listener.as_ref(),
        trace: request.trace,
    };
    match start(prepared, &place.cgroup, &plan, channel.ours) {
        Ok(started) => {
            steps.extend(started.heard.steps);
            let Child { pid, pidfd } = started.child;
            let (mut cgroup, scope, missing) = place.settle(request.spec);
            // The container has attached it, or has no use for it.
            drop(cgroup.take_shown());
            let planned = plan.warnings.iter().cloned();
            let warnings = planned.chain(missing).chain(started.heard.warnings).collect();
            Ok(Launched { pid, pidfd, terminal: started.terminal, cgroup, scope, steps, warnings })
        }
        Err(error) => {
            let error = error.undone(place.undo());
            // The first error is the one to tell, not what hooks that were to clean up after it say.
            drop(context.map(|context| context.run_poststop(request.spec)));
            Err(error)
        }
    }
}

/// Whether the container is in a user namespace of its own, or of others.
fn has_user_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

/// What the plan of this launch depends on besides its spec.
pub(crate) fn inputs(request: &LaunchRequest<'_>, extras: Extras) -> Result<Inputs, LaunchError> {
    let waits = matches!(request.start, Start::WaitFor(_));
    let (apparmor, selinux) = security_modules(request.spec.process().as_ref(), request.spec.linux().as_ref());
    Ok(Inputs {
        bundle: absolute(request.bundle)?,
        apparmor,
        selinux,
        no_new_keyring: extras.no_new_keyring,
        rootfs: request.rootfs.is_some(),
        netns: request.netns.is_some(),
        filter: request.filter.is_some(),
        terminal: matches!(request.stdio, Stdio::Terminal { .. }),
        waits_for_start: waits,
        init: request.init,
        dies_with_parent: !waits && !extras.outlives_launcher,
        no_pivot: extras.no_pivot,
        preserve_fds: extras.preserve_fds,
        caller: prepare::caller()?,
        hierarchies: prepare::hierarchies(request.spec)?,
    })
}

fn start<'a>(
    mut prepared: Prepared<'a>,
    cgroup: &'a Cgroup,
    plan: &Plan,
    channel: Ours,
) -> Result<Started, LaunchError> {
    prepared.cgroup = Some(cgroup);
    prepared.tasks = prepare::cgroup_files(cgroup, plan)?;
    if plan.staged() {
        return start_child(prepared, None, CloneArgs::default(), channel);
    }
    let joined = prepared.namespaces.iter().position(|(kind, _)| *kind == CloneFlags::NEWPID);
    let pid_namespace = joined.map(|index| prepared.namespaces.swap_remove(index).1);
    let args = CloneArgs { flags: plan.create, cgroup: cgroup.clone_into() };
    start_child(prepared, pid_namespace.as_ref().map(AsFd::as_fd), args, channel)
}

/// A child that executed its command, or waits.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) heard: Heard,
    pub(crate) terminal: Option<OwnedFd>,
}

/// Makes the child and listens to it; a child that gives up is gone when this returns.
pub(crate) fn start_child(
    prepared: Prepared<'_>,
    pid_namespace: Option<BorrowedFd<'_>>,
    args: CloneArgs<'_>,
    channel: Ours,
) -> Result<Started, LaunchError> {
    let Ours { status, answers, console } = channel;
    let child = clone_in(pid_namespace, args, || apply::run(&prepared, answers.as_ref().map(AsFd::as_fd)))?;
    let (plan, context, listener) = (prepared.plan, prepared.hooks, prepared.listener);
    // The child has its own copies; ours would keep the status pipe from ending.
    drop(prepared);
    let stage = if plan.staged() {
        let copied = rustix::io::fcntl_dupfd_cloexec(&child.pidfd, 0)
            .map_err(|errno| sys::Error::new("fcntl(intermediate process, F_DUPFD_CLOEXEC, 0)", errno));
        Some(copied.map_err(|error| LaunchError::from(error).undone(end(&child)))?)
    } else {
        None
    };
    let mut ward = Ward::new(plan, Told { hooks: context, listener }, child);
    let result = listen(status, answers, stage, |question| ward.answer(question));
    let Ward { child, warnings, .. } = ward;
    let result = result.and_then(|mut heard| match heard.failed.take() {
        Some(report) => Err(LaunchError::Child(report)),
        None => {
            heard.warnings.extend(warnings);
            Ok(heard)
        }
    });
    let heard = match result {
        Ok(heard) => heard,
        Err(error) => return Err(error.undone(end(&child))),
    };
    if !heard.ready && !heard.executing {
        let gone = |status| LaunchError::ChildGone { status };
        return Err(end(&child).map_or_else(|undo| gone("nobody knows how".into()).undone(Err::<(), _>(undo)), gone));
    }
    let terminal = match console.map(receive_terminal).transpose() {
        Ok(terminal) => terminal,
        Err(error) => return Err(error.undone(end(&child))),
    };
    Ok(Started { child, heard, terminal })
}

/// How launcher and child talk.
pub(crate) struct Channel {
    /// The launcher's ends.
    pub(crate) ours: Ours,
    /// The pipe on which the child reports.
    pub(crate) status_inside: OwnedFd,
    /// The pipe on which it gets answers, if it asks anything.
    pub(crate) answers_inside: Option<OwnedFd>,
    /// The socket over which its terminal goes.
    pub(crate) console_inside: Option<OwnedFd>,
}

/// The launcher's ends of a [`Channel`].
pub(crate) struct Ours {
    status: OwnedFd,
    answers: Option<OwnedFd>,
    console: Option<OwnedFd>,
}

impl Channel {
    pub(crate) fn open(terminal: bool, asks: bool) -> Result<Channel, LaunchError> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| sys::Error::new("pipe2(O_CLOEXEC)", errno));
        let (status, status_inside) = pipe()?;
        let (answers_inside, answers) = asks.then(pipe).transpose()?.unzip();
        let pair = || {
            socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                .map_err(|errno| sys::Error::new("socketpair(AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC)", errno))
        };
        let (console, console_inside) = terminal.then(pair).transpose()?.unzip();
        Ok(Channel { ours: Ours { status, answers, console }, status_inside, answers_inside, console_inside })
    }
}

fn receive_terminal(socket: OwnedFd) -> Result<OwnedFd, LaunchError> {
    // The child sent it before it said that it is done, so it is there or never comes.
    rustix::fs::fcntl_setfl(&socket, OFlags::NONBLOCK)
        .map_err(|errno| sys::Error::new("fcntl(console, F_SETFL, O_NONBLOCK)", errno))?;
    let (_, fds) = sys::fds::recv_with(&socket, &mut [0; 64])?;
    let missing = || sys::Error::new("recvmsg(console): no terminal came", rustix::io::Errno::NODATA);
    Ok(fds.into_iter().next().ok_or_else(missing)?)
}

/// Kills the child, waits for it, and says how it ended (it may have before that).
pub(crate) fn end(child: &Child) -> Result<String, LaunchError> {
    // Whoever is not killed would be waited for in vain.
    sys::process::pidfd_send_signal(child.pidfd.as_fd(), 9)?;
    let waited = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED))
        .map_err(|errno| sys::Error::new(format!("waitid(P_PIDFD, {}, WEXITED)", child.pidfd.as_raw_fd()), errno))?;
    Ok(match waited.map(|status| (status.terminating_signal(), status.exit_status())) {
        Some((Some(signal), _)) => format!("signal {signal}"),
        Some((_, Some(code))) => format!("exit code {code}"),
        _ => "nobody knows how".into(),
    })
}

/// Opens the fifo of `start` and fills it, so that the next byte only goes in when somebody reads: so the process waits
/// with one descriptor, by which nothing of the host can be reached, and has it for what it says afterwards. Open for
/// both directions, or opening it would wait already.
fn fill_fifo(path: &Path) -> Result<OwnedFd, LaunchError> {
    /// The kernel gives at least a page.
    const LEAST: usize = 1;
    let fifo = rustix::fs::open(path, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| sys::Error::new(format!("open({path:?}, O_RDWR|O_NOFOLLOW|O_CLOEXEC)"), errno))?;
    let size = fcntl_setpipe_size(&fifo, LEAST)
        .map_err(|errno| sys::Error::new(format!("fcntl({path:?}, F_SETPIPE_SZ, {LEAST})"), errno))?;
    rustix::io::write(&fifo, &vec![b' '; size])
        .map_err(|errno| sys::Error::new(format!("write({path:?}, {size} spaces)"), errno))?;
    Ok(fifo)
}

pub(crate) fn absolute(path: &Path) -> Result<PathBuf, LaunchError> {
    std::path::absolute(path).map_err(|error| {
        let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
        sys::Error::new("getcwd()", errno).into()
    })
}
