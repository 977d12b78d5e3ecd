// SPDX-License-Identifier: Apache-2.0
//! `create` and `run`.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use oci::ContainerId;
use oci::runtime_spec::{Process, Spec};
use rustix::fs::Access;

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::inherited::Inherited;
use super::log::Log;
use super::store::{Entry, Record, remove, replace, shares_pids, start_time};
use super::{Context, config, delete, foreground, hooks, print, time};
use crate::launch::{Extras, absolute, launch_with};
use crate::preview::preview_with;
use crate::{LaunchError, LaunchRequest, Launched, Start, Stdio, protect};

const FLAGS: &[Flag] = &[
    Flag::value("bundle").short('b'),
    Flag::value("console-socket"),
    Flag::value("pid-file"),
    Flag::value("pidfd-socket"),
    Flag::value("preserve-fds"),
    Flag::switch("no-pivot"),
    Flag::switch("no-new-keyring"),
    Flag::switch("detach").short('d'),
    Flag::switch("keep"),
    Flag::switch("no-subreaper"),
    Flag::switch("dry-run"),
    Flag::value("format"),
];

/// What the flags say.
struct Request {
    id: ContainerId,
    bundle: PathBuf,
    spec: Spec,
    /// The same, as it is written down.
    text: Vec<u8>,
    console: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
    extras: Extras,
    detach: bool,
    keep: bool,
}

impl Request {
    fn read(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<Request, CliError> {
        let flags = Flags::read(args, FLAGS)?;
        let bundle = absolute(&flags.path("bundle").unwrap_or_else(|| PathBuf::from(".")))?;
        let config::Read { value: mut spec, warnings, mut text } =
            config::read::<Spec>(&bundle.join("config.json"), config::Process::Within)?;
        warnings.iter().for_each(|warning| log.warning(warning));
        let inherited = Inherited::find(flags.number("preserve-fds")?.unwrap_or(0))?;
        if let Some(process) = spec.process_mut().as_mut().filter(|_| inherited.has_sockets()) {
            inherited.tell(process);
            text = serde_json::to_vec(&spec).map_err(CliError::Format)?;
        }
        let extras = Extras {
            preserve_fds: inherited.count(),
            no_pivot: flags.switch("no-pivot"),
            no_new_keyring: flags.switch("no-new-keyring"),
            outlives_launcher: true,
            systemd_cgroup: context.systemd_cgroup,
            rootless: context.rootless,
            plain_newlines: false,
        };
        Ok(Request {
            id: flags.id()?,
            bundle,
            spec,
            text,
            console: flags.path("console-socket"),
            pid_file: flags.path("pid-file"),
            pidfd_socket: flags.path("pidfd-socket"),
            extras,
            detach: flags.switch("detach"),
            keep: flags.switch("keep"),
        })
    }

    fn launch<'a>(&'a self, start: Start<'a>) -> LaunchRequest<'a> {
        LaunchRequest {
            init: false,
            id: &self.id,
            spec: &self.spec,
            bundle: &self.bundle,
            rootfs: None,
            netns: None,
            cgroup: None,
            filter: None,
            stdio: self.spec.process().as_ref().map_or(Stdio::Inherit, stdio),
            start,
            filters: None,
            trace: false,
        }
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

/// Whether the set-up is only to be printed: asked first, because printing needs none of what launching needs.
fn is_dry_run(args: &[OsString]) -> Result<bool, CliError> {
    let flags = Flags::read(args.to_vec(), FLAGS)?;
    if !flags.switch("dry-run") && flags.text("format")?.is_some() {
        return Err(CliError::Usage { expected: "--format only with --dry-run" });
    }
    Ok(flags.switch("dry-run"))
}

/// Prints what would be done. Nothing is: the id is not even reserved.
fn dry_run(context: &Context, args: Vec<OsString>, start: Start<'_>, log: &mut Log) -> Result<u8, CliError> {
    let format = Flags::read(args.clone(), FLAGS)?.text("format")?;
    let request = Request::read(context, args, log)?;
    let preview = preview_with(&request.launch(start), request.extras)?;
    preview.warnings.iter().for_each(|warning| log.warning(warning));
    match format.as_deref() {
        None | Some("text") => print(&preview.to_string()),
        Some("json") => print(&format!("{}\n", serde_json::to_string_pretty(&preview).map_err(CliError::Format)?)),
        Some(other) => {
            let value = other.to_owned();
            Err(CliError::InvalidValue { flag: "format", value, expected: "text or json" })
        }
    }
}

pub(super) fn create(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    if is_dry_run(&args)? {
        return dry_run(context, args, Start::WaitFor(Path::new("exec.fifo")), log);
    }
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
    let made = entry.make_fifo().and_then(|fifo| make(context, &request, &entry, Start::WaitFor(&fifo), log));
    match made {
        Ok(_) => Ok(0),
        Err(error) => Err(error.undone([entry.remove()])),
    }
}

pub(super) fn run(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    if is_dry_run(&args)? {
        return dry_run(context, args, Start::Now, log);
    }
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
    let launched = match make(context, &request, &entry, Start::Now, log) {
        Ok(launched) => launched,
        Err(error) => return Err(error.undone([entry.remove()])),
    };
    let Some(foreground) = foreground else { return Ok(0) };
    let code = match foreground.attend(launched.pidfd.as_fd(), launched.terminal.as_ref()) {
        Ok(code) => code,
        // Nobody would know of a container that runs on after this.
        Err(error) => {
            let ended = end(&request, &launched);
            let cleaned = delete::clean(&entry, Some(&launched.cgroup), launched.scope.as_ref());
            hooks::poststop(&request.id, &request.bundle, &request.spec, log);
            return Err(error.undone([ended, remove_pid_file(&request), cleaned]));
        }
    };
    if !request.keep {
        delete::clean(&entry, Some(&launched.cgroup), launched.scope.as_ref())?;
        hooks::poststop(&request.id, &request.bundle, &request.spec, log);
    }
    Ok(code)
}

/// Launches, and remembers what was launched; what cannot be remembered is ended.
fn make(
    context: &Context,
    request: &Request,
    entry: &Entry,
    start: Start<'_>,
    log: &mut Log,
) -> Result<Launched, CliError> {
    // Found out only afterwards, the command would have run by then.
    request.pid_file.as_deref().map_or(Ok(()), check_place)?;
    let sockets = Sockets::connect(request.console.as_deref(), request.pidfd_socket.as_deref())?;
    let filters = context.store.filters();
    let asked = LaunchRequest { filters: Some(&filters), trace: log.tells_steps(), ..request.launch(start) };
    let launched = launch_with(asked, request.extras)?;
    launched.steps.iter().for_each(|step| log.step(&step.name));
    launched.warnings.iter().for_each(|warning| log.warning(warning));
    let (id, bundle, spec) = (&request.id, &request.bundle, &request.spec);
    let remembered = remember(request, entry, &launched)
        .and_then(|()| sockets.hand_over(launched.terminal.as_ref(), launched.pidfd.as_fd()));
    let done = remembered.and_then(|()| match start {
        Start::Now => Ok(hooks::poststart(id, bundle, spec, launched.pid).map_err(LaunchError::Hook)?),
        Start::WaitFor(_) => Ok(()),
    });
    match done {
        Ok(()) => Ok(launched),
        Err(error) => {
            let ended = end(request, &launched);
            let removed = delete::remove_cgroup(Some(&launched.cgroup), launched.scope.as_ref());
            hooks::poststop(id, bundle, spec, log);
            Err(error.undone([ended, remove_pid_file(request), removed]))
        }
    }
}

/// Whether a file can be made there.
fn check_place(path: &Path) -> Result<(), CliError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|errno| CliError::file("write", path)(errno.into()))
}

/// Ends what was launched: all of it, and if the kernel's list of that cannot be had, at least its first process.
fn end(request: &Request, launched: &Launched) -> Result<(), CliError> {
    let killed = launched.cgroup.kill();
    sys::process::pidfd_send_signal(launched.pidfd.as_fd(), 9)?;
    delete::await_end(&request.id, launched.pidfd.as_fd())?;
    Ok(killed?)
}

fn remove_pid_file(request: &Request) -> Result<(), CliError> {
    request.pid_file.as_deref().map_or(Ok(()), remove)
}

fn remember(request: &Request, entry: &Entry, launched: &Launched) -> Result<(), CliError> {
    let record = Record {
        id: request.id.clone(),
        pid: launched.pid,
        // One that has ended already, and is not collected, still has its entry.
        start_time: start_time(launched.pid)?,
        bundle: request.bundle.clone(),
        cgroup: Some(&launched.cgroup).filter(|c| !c.is_absent()).map_or_else(String::new, |c| c.path().to_string()),
        created: time::rfc3339_now(),
        shares_pids: shares_pids(&request.spec),
        scope: launched.scope.clone(),
        has_hooks: request.spec.hooks().is_some(),
    };
    entry.write(&record, &request.text)?;
    request.pid_file.as_deref().map_or(Ok(()), |path| replace(path, launched.pid.to_string().as_bytes()))
}

/// Where the caller wants descriptors sent, connected before there is a process.
pub(super) struct Sockets {
    console: Option<UnixStream>,
    pidfd: Option<UnixStream>,
}

impl Sockets {
    pub(super) fn connect(console: Option<&Path>, pidfd: Option<&Path>) -> Result<Sockets, CliError> {
        let connect = |action, path: Option<&Path>| {
            path.map(|path| UnixStream::connect(path).map_err(CliError::file(action, path))).transpose()
        };
        Ok(Sockets {
            console: connect("connect to the console socket", console)?,
            pidfd: connect("connect to the pidfd socket", pidfd)?,
        })
    }

    /// Sends the terminal and the process as runc does: each in one message with a name and the descriptor.
    pub(super) fn hand_over(&self, terminal: Option<&OwnedFd>, process: BorrowedFd<'_>) -> Result<(), CliError> {
        if let (Some(console), Some(terminal)) = (&self.console, terminal) {
            sys::fds::send_with(console, b"/dev/ptmx", &[terminal.as_fd()])?;
        }
        if let Some(socket) = &self.pidfd {
            sys::fds::send_with(socket, b"pidfd", &[process])?;
        }
        Ok(())
    }
}
