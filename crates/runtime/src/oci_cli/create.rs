// SPDX-License-Identifier: Apache-2.0
//! `create` and `run`.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use oci::ContainerId;
use oci::runtime_spec::{Process, Spec};

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::inherited::Inherited;
use super::log::Log;
use super::store::{Entry, Record, process_times, replace, shares_pids};
use super::{Context, config, delete, foreground, hooks, time};
use crate::launch::{Extras, absolute, launch_with};
use crate::{LaunchError, LaunchRequest, Launched, Start, Stdio, protect};

const FLAGS: &[Flag] = &[
    Flag::value("bundle").short('b'),
    Flag::value("console-socket"),
    Flag::value("pid-file"),
    Flag::value("preserve-fds"),
    Flag::switch("no-pivot"),
    Flag::switch("no-new-keyring"),
    Flag::switch("detach").short('d'),
    Flag::switch("keep"),
    Flag::switch("no-subreaper"),
];

/// What the flags say.
struct Request {
    id: ContainerId,
    bundle: PathBuf,
    spec: Spec,
    console: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    extras: Extras,
    detach: bool,
    keep: bool,
}

impl Request {
    fn read(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<Request, CliError> {
        let flags = Flags::read(args, FLAGS)?;
        let bundle = absolute(&flags.path("bundle").unwrap_or_else(|| PathBuf::from(".")))?;
        let config::Read { value: mut spec, warnings } =
            config::read::<Spec>(&bundle.join("config.json"), config::Process::Within)?;
        warnings.iter().for_each(|warning| log.warning(warning));
        let inherited = Inherited::find(flags.number("preserve-fds")?.unwrap_or(0))?;
        if let Some(process) = spec.process_mut() {
            inherited.tell(process);
        }
        let extras = Extras {
            preserve_fds: inherited.count(),
            no_pivot: flags.switch("no-pivot"),
            no_new_keyring: flags.switch("no-new-keyring"),
            outlives_launcher: true,
            systemd_cgroup: context.systemd_cgroup,
            plain_newlines: false,
        };
        Ok(Request {
            id: flags.id()?,
            bundle,
            spec,
            console: flags.path("console-socket"),
            pid_file: flags.path("pid-file"),
            extras,
            detach: flags.switch("detach"),
            keep: flags.switch("keep"),
        })
    }

    fn wants_terminal(&self) -> bool {
        self.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false)
    }
}

/// What the standard streams of a process are: a terminal of the size it says, or ours.
pub(super) fn stdio(process: &Process) -> Stdio {
    if !process.terminal().unwrap_or(false) {
        return Stdio::Inherit;
    }
    let number = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    Stdio::Terminal { size: process.console_size().map(|size| (number(size.height()), number(size.width()))) }
}

pub(super) fn create(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    protect::reexec()?;
    let request = Request::read(context, args, log)?;
    match (request.wants_terminal(), &request.console) {
        (true, None) => return Err(CliError::Usage { expected: "--console-socket, because process.terminal is true" }),
        (false, Some(_)) => {
            return Err(CliError::Usage { expected: "no --console-socket, because process.terminal is not true" });
        }
        _ => {}
    }
    let entry = context.store.reserve(&request.id)?;
    let made = entry.make_fifo().and_then(|fifo| make(&request, &entry, Start::WaitFor(&fifo), log));
    match made {
        Ok(_) => Ok(0),
        Err(error) => {
            entry.remove()?;
            Err(error)
        }
    }
}

pub(super) fn run(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    protect::reexec()?;
    let mut request = Request::read(context, args, log)?;
    request.extras.plain_newlines = !request.detach;
    let terminal = request.wants_terminal();
    if request.console.is_some() && !(request.detach && terminal) {
        return Err(CliError::Usage { expected: "--console-socket only with --detach and process.terminal" });
    }
    if request.detach && terminal && request.console.is_none() {
        return Err(CliError::Usage { expected: "--console-socket, to detach from a container with a terminal" });
    }
    let foreground = (!request.detach).then(foreground::Foreground::prepare).transpose()?;
    let entry = context.store.reserve(&request.id)?;
    let launched = match make(&request, &entry, Start::Now, log) {
        Ok(launched) => launched,
        Err(error) => {
            entry.remove()?;
            return Err(error);
        }
    };
    let Some(foreground) = foreground else { return Ok(0) };
    let code = foreground.attend(launched.pidfd.as_fd(), launched.terminal)?;
    if !request.keep {
        delete::clean(&entry, Some(&launched.cgroup), launched.scope.as_ref())?;
        hooks::poststop(&request.id, &request.bundle, &request.spec, log);
    }
    Ok(code)
}

/// Launches, and remembers what was launched; what cannot be remembered is ended.
fn make(request: &Request, entry: &Entry, start: Start<'_>, log: &mut Log) -> Result<Launched, CliError> {
    let console = request.console.as_deref().map(connect).transpose()?;
    let launched = launch_with(
        LaunchRequest {
            id: &request.id,
            spec: &request.spec,
            bundle: &request.bundle,
            rootfs: None,
            netns: None,
            stdio: request.spec.process().as_ref().map_or(Stdio::Inherit, stdio),
            start,
            trace: log.tells_steps(),
        },
        request.extras,
    )?;
    launched.steps.iter().for_each(|step| log.step(&step.name));
    launched.warnings.iter().for_each(|warning| log.warning(warning));
    let (id, bundle, spec) = (&request.id, &request.bundle, &request.spec);
    let remembered = remember(request, entry, &launched).and_then(|()| hand_over(&launched, console.as_ref()));
    let done = remembered.and_then(|()| match start {
        Start::Now => Ok(hooks::poststart(id, bundle, spec, launched.pid).map_err(LaunchError::Hook)?),
        Start::WaitFor(_) => Ok(()),
    });
    if let Err(error) = done {
        launched.cgroup.kill()?;
        delete::await_end(&request.id, launched.pidfd.as_fd())?;
        delete::remove_cgroup(Some(&launched.cgroup), launched.scope.as_ref())?;
        hooks::poststop(id, bundle, spec, log);
        return Err(error);
    }
    Ok(launched)
}

fn remember(request: &Request, entry: &Entry, launched: &Launched) -> Result<(), CliError> {
    let record = Record {
        id: request.id.clone(),
        pid: launched.pid,
        // One that has ended already, and is not collected, still has its entry.
        start_time: process_times(launched.pid).map_or(0, |(_, start)| start),
        bundle: request.bundle.clone(),
        cgroup: launched.cgroup.path().to_string(),
        created: time::rfc3339_now(),
        shares_pids: shares_pids(&request.spec),
        scope: launched.scope.clone(),
    };
    entry.write(&record, &request.spec)?;
    request.pid_file.as_deref().map_or(Ok(()), |path| replace(path, launched.pid.to_string().as_bytes()))
}

pub(super) fn connect(path: &Path) -> Result<UnixStream, CliError> {
    UnixStream::connect(path).map_err(CliError::file("connect to the console socket", path))
}

fn hand_over(launched: &Launched, console: Option<&UnixStream>) -> Result<(), CliError> {
    if let (Some(console), Some(terminal)) = (console, &launched.terminal) {
        send_terminal(console, terminal)?;
    }
    Ok(())
}

/// Sends a terminal as runc does: one message with its name and its descriptor.
pub(super) fn send_terminal(console: &UnixStream, terminal: &OwnedFd) -> Result<(), CliError> {
    sys::fds::send_with(console, b"/dev/ptmx", &[terminal.as_fd()])?;
    Ok(())
}
