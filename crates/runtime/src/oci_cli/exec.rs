// SPDX-License-Identifier: Apache-2.0
//! `exec`: another process in a running container.

use std::ffi::OsString;
use std::os::fd::AsFd;

use oci::runtime_spec::{Capabilities, Capability, ContainerState, LinuxCapabilities, Process, Spec, User};
use sys::process::Child;

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::log::Log;
use super::store::{remove, replace};
use super::{Context, create, foreground};
use crate::exec::exec_with;
use crate::launch::{Extras, end};
use crate::{ContainerProcess, ExecRequest, Stdio, protect};

const FLAGS: &[Flag] = &[
    Flag::value("console-socket"),
    Flag::value("cwd"),
    Flag::value("env").short('e'),
    Flag::switch("tty").short('t'),
    Flag::value("user").short('u'),
    Flag::value("additional-gids").short('g'),
    Flag::value("process").short('p'),
    Flag::switch("detach").short('d'),
    Flag::value("pid-file"),
    Flag::switch("no-new-privs"),
    Flag::value("cap").short('c'),
    Flag::value("preserve-fds"),
    Flag::switch("ignore-paused"),
];

pub(super) fn exec(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    protect::reexec()?;
    let flags = Flags::read(args, FLAGS)?;
    let (id, command) = flags.id_and_more()?;
    let (entry, record) = context.store.find(&id)?;
    let status = entry.status(&record);
    let refused = || CliError::State { id: id.to_string(), status, action: "exec", expected: "running" };
    let pidfd = record.pidfd().filter(|_| status == ContainerState::Running).ok_or_else(refused)?;
    let cgroup = record.cgroup()?.ok_or_else(refused)?;
    let spec = entry.spec()?;
    let process = process(&flags, &spec, command)?;
    let (detach, console) = (flags.switch("detach"), flags.path("console-socket"));
    let terminal = process.terminal().unwrap_or(false);
    if console.is_some() != (detach && terminal) {
        return Err(CliError::Usage { expected: "--console-socket exactly with --detach and a terminal" });
    }
    let console = console.as_deref().map(create::connect).transpose()?;
    let foreground = (!detach).then(foreground::Foreground::prepare).transpose()?;
    let container = ContainerProcess { pid: record.pid, pidfd };
    let request = ExecRequest {
        container: &container,
        spec: &spec,
        process: &process,
        cgroup: &cgroup,
        stdio: if terminal { Stdio::Terminal { size: None } } else { Stdio::Inherit },
    };
    let preserve_fds = flags.number("preserve-fds")?.unwrap_or(0);
    let executed = exec_with(request, Extras { preserve_fds, ..Extras::default() })?;
    executed.warnings.iter().for_each(|warning| log.warning(warning));
    let told = flags.path("pid-file").map_or(Ok(()), |path| replace(&path, executed.pid.to_string().as_bytes()));
    let told = told.and_then(|()| match (&console, &executed.terminal) {
        (Some(console), Some(terminal)) => create::send_terminal(console, terminal),
        _ => Ok(()),
    });
    let attended = told.and_then(|()| match foreground {
        Some(foreground) => foreground.attend(executed.pidfd.as_fd(), executed.terminal.as_ref()),
        None => Ok(0),
    });
    // Nobody would know of a process that runs on after this.
    attended.map_err(|error| {
        let ended = end(&Child { pid: executed.pid, pidfd: executed.pidfd });
        let forgotten = flags.path("pid-file").map_or(Ok(()), |path| remove(&path));
        error.undone([ended.map(drop).map_err(CliError::from), forgotten])
    })
}

/// What to execute: the file that `--process` names, or the container's own process with other words and what the
/// flags change.
fn process(flags: &Flags, spec: &Spec, command: &[OsString]) -> Result<Process, CliError> {
    let mut process: Process = match flags.path("process") {
        Some(path) => {
            let text = std::fs::read(&path).map_err(CliError::file("read", &path))?;
            serde_json::from_slice(&text).map_err(|source| CliError::Json { path, source })?
        }
        None => {
            let mut process = spec.process().clone().unwrap_or_default();
            let words = command.iter().map(|word| {
                let lossy = |word: OsString| word.to_string_lossy().into_owned();
                let expected = "UTF-8 text";
                let invalid = |word| CliError::InvalidValue { flag: "command", value: lossy(word), expected };
                word.clone().into_string().map_err(invalid)
            });
            process.set_args(Some(words.collect::<Result<_, _>>()?)).set_terminal(Some(false));
            process
        }
    };
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(CliError::Usage { expected: "a command to execute" });
    }
    if flags.switch("tty") {
        process.set_terminal(Some(true));
    }
    if flags.switch("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(cwd) = flags.path("cwd") {
        process.set_cwd(cwd);
    }
    let mut environment = process.env().clone().unwrap_or_default();
    environment.extend(flags.texts("env")?);
    process.set_env(Some(environment));
    if let Some(user) = flags.text("user")? {
        process.set_user(read_user(&user)?);
    }
    let groups = flags.texts("additional-gids")?;
    if !groups.is_empty() {
        let groups = groups.iter().map(|group| id_number("additional-gids", group)).collect::<Result<Vec<_>, _>>()?;
        process.user_mut().set_additional_gids(Some(groups));
    }
    add_capabilities(&mut process, &flags.texts("cap")?)?;
    Ok(process)
}

fn id_number(flag: &'static str, text: &str) -> Result<u32, CliError> {
    text.parse().map_err(|_| CliError::InvalidValue { flag, value: text.into(), expected: "a number" })
}

fn read_user(text: &str) -> Result<User, CliError> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    let mut user = User::default();
    user.set_uid(id_number("user", uid)?).set_gid(id_number("user", gid)?);
    Ok(user)
}

fn add_capabilities(process: &mut Process, names: &[String]) -> Result<(), CliError> {
    if names.is_empty() {
        return Ok(());
    }
    let read = |name: &String| {
        let known: Result<Capability, _> = serde_json::from_value(serde_json::Value::String(name.clone()));
        let expected = "a capability such as CAP_NET_ADMIN";
        known.map_err(|_| CliError::InvalidValue { flag: "cap", value: name.clone(), expected })
    };
    let added: Capabilities = names.iter().map(read).collect::<Result<_, _>>()?;
    let mut sets = process.capabilities().clone().unwrap_or_else(no_capabilities);
    let with = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
    let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}

fn no_capabilities() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
    sets
}
