// SPDX-License-Identifier: Apache-2.0
//! Starting another process in a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use oci::runtime_spec::{LinuxNamespaceType, Process, Spec};
use serde_json::value::RawValue;
use sys::process::{Child, CloneArgs, CloneFlags};

use crate::apply::Prepared;
use crate::error::LaunchError;
use crate::hooks::Context;
use crate::launch::{Channel, Extras, Stdio, start_child};
use crate::listener::Listener;
use crate::message::Step;
use crate::plan::{Inputs, plan_exec};
use crate::security_modules::security_modules;
use crate::{prepare, protect};

/// A running container, known by its first process.
#[derive(Debug)]
pub struct ContainerProcess {
    /// Its pid, as this process's pid namespace numbers it.
    pub pid: i32,
    /// A descriptor of it: what is entered are the namespaces of this process, whoever has its number by then.
    pub pidfd: OwnedFd,
}

/// A process to start in a running container.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    /// The container.
    pub container: &'a ContainerProcess,
    /// What the container was made from: which namespaces it has, and its filter.
    pub spec: &'a Spec,
    /// That filter's profile, where it was given apart; see [`crate::LaunchRequest`].
    pub filter: Option<&'a RawValue>,
    /// The process.
    pub process: &'a Process,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// Its standard streams.
    pub stdio: Stdio,
    /// Where compiled system call filters are kept; see [`crate::LaunchRequest`].
    pub filters: Option<&'a Path>,
}

/// A started process.
#[derive(Debug)]
pub struct Executed {
    /// Its pid, as the launcher's pid namespace numbers it. It is the launcher's child.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
    /// The user's side of its terminal.
    pub terminal: Option<OwnedFd>,
    /// What was done, and when.
    pub steps: Vec<Step>,
    /// What was asked for and could not be had, without which it still runs; for the user to read.
    pub warnings: Vec<String>,
}

/// Starts a process in a running container: in all its namespaces, its cgroup and its root, under its filter, with
/// the identity and limits that `process` says. Returns when its command has been executed. It ends with the
/// container; not with the caller.
///
/// The caller must have one thread, and have been executed through [`protect::reexec`].
///
/// # Errors
/// As [`crate::launch()`]. Nothing is left behind then.
pub fn exec(request: ExecRequest<'_>) -> Result<Executed, LaunchError> {
    exec_with(request, Extras::default(), None)
}

/// `context` is what a listener of the container's filter is told of the container.
pub(crate) fn exec_with(
    request: ExecRequest<'_>,
    extras: Extras,
    context: Option<Context>,
) -> Result<Executed, LaunchError> {
    protect::verify()?;
    let (apparmor, selinux) = security_modules(Some(request.process), None);
    let inputs = Inputs {
        apparmor,
        selinux,
        bundle: PathBuf::from("/"),
        filter: request.filter.is_some(),
        terminal: matches!(request.stdio, Stdio::Terminal { .. }),
        preserve_fds: extras.preserve_fds,
        caller: prepare::caller()?,
        ..Inputs::default()
    };
    let plan = plan_exec(request.spec, request.process, &inputs)?;
    let filter = prepare::filter(request.spec, request.filter, request.filters)?;
    let listener = match (prepare::notifying(request.spec, &plan), context) {
        (Some(profile), Some(context)) => {
            let bundle = context.bundle().to_owned();
            Some(Listener::new(profile, context, &bundle, Some(request.container.pid)))
        }
        (Some(_), None) => return Err(LaunchError::NoListener),
        (None, _) => None,
    };
    let streams = prepare::streams(request.stdio)?;
    let channel = Channel::open(streams.terminal, plan.asks())?;
    let (mut kinds, own_pids) = namespaces(request.spec);
    if own_pids && plan.staged() {
        kinds |= CloneFlags::NEWPID;
    }
    let pidfd = request.container.pidfd.as_fd();
    let prepared = Prepared {
        plan: &plan,
        rootfs: None,
        netns: None,
        container: Some((pidfd, kinds)),
        tasks: prepare::cgroup_files(request.cgroup, &plan)?,
        cgroup: None,
        stdio: streams.stdio,
        console: channel.console_inside,
        size: streams.size,
        plain_newlines: extras.plain_newlines,
        program: prepare::program(request.process),
        filter,
        fifo: None,
        init: None,
        status: channel.status_inside,
        answers: channel.answers_inside,
        trees: Vec::new(),
        namespaces: Vec::new(),
        hooks: None,
        listener: listener.as_ref(),
        trace: false,
    };
    let started = if plan.staged() {
        start_child(prepared, None, CloneArgs::default(), channel.ours)?
    } else {
        let args = CloneArgs { flags: CloneFlags::empty(), cgroup: request.cgroup.clone_into() };
        start_child(prepared, own_pids.then_some(pidfd), args, channel.ours)?
    };
    let Child { pid, pidfd } = started.child;
    let heard = started.heard;
    Ok(Executed { pid, pidfd, terminal: started.terminal, steps: heard.steps, warnings: heard.warnings })
}

/// The namespaces the container does not share with its launcher, and whether its pids are among them.
fn namespaces(spec: &Spec) -> (CloneFlags, bool) {
    let mut kinds = CloneFlags::empty();
    let mut own_pids = false;
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    for namespace in listed.into_iter().flatten() {
        kinds |= match namespace.typ() {
            LinuxNamespaceType::Mount => CloneFlags::NEWNS,
            LinuxNamespaceType::Cgroup => CloneFlags::NEWCGROUP,
            LinuxNamespaceType::Uts => CloneFlags::NEWUTS,
            LinuxNamespaceType::Ipc => CloneFlags::NEWIPC,
            LinuxNamespaceType::Network => CloneFlags::NEWNET,
            LinuxNamespaceType::Pid => {
                own_pids = true;
                CloneFlags::empty()
            }
            LinuxNamespaceType::User => CloneFlags::NEWUSER,
            LinuxNamespaceType::Time => CloneFlags::NEWTIME,
        };
    }
    (kinds, own_pids)
}
