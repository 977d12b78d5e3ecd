// SPDX-License-Identifier: Apache-2.0
//! `exec`: another process in a running container.

use std::ffi::OsString;
use std::os::fd::AsFd;

use cgroup::Below;
use oci::runtime_spec::{Capabilities, Capability, LinuxCapabilities, Process, Spec, User};
use sys::process::Child;

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::inherited::Inherited;
use super::log::Log;
use super::store::{Status, remove, replace};
use super::{Context, config, create, foreground};
use crate::exec::exec_with;
use crate::launch::{Extras, end};
use crate::{ContainerProcess, ExecRequest, protect};

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
    Flag::value("pidfd-socket"),
    Flag::value("process-label"),
    Flag::value("apparmor"),
    Flag::switch("no-new-privs"),
    Flag::value("cap").short('c'),
    Flag::value("preserve-fds"),
    Flag::switch("ignore-paused"),
    Flag::value("cgroup"),
];

pub(super) fn exec(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    protect::reexec()?;
    let flags = Flags::leading(args, FLAGS)?;
    let (id, command) = flags.id_and_more()?;
    let (entry, record) = context.store.find(&id)?;
    let status = entry.status(&record)?;
    let refused = || CliError::State { id: id.to_string(), status, action: "exec", expected: "created or running" };
    if status == Status::Paused && !flags.switch("ignore-paused") {
        return Err(CliError::Paused { id: id.to_string() });
    }
    // One that waits for `start` has its namespaces and its root already.
    let enterable = status != Status::Stopped;
    let pidfd = record.pidfd()?.filter(|_| enterable).ok_or_else(refused)?;
    let mut cgroup = record.cgroup_to_join()?.ok_or_else(refused)?;
    if let Some(below) = below(&flags.texts("cgroup")?)? {
        cgroup = cgroup.below(&below)?;
    }
    let spec = entry.spec()?;
    let process = process(&flags, &spec, command, log)?;
    let (detach, console) = (flags.switch("detach"), flags.path("console-socket"));
    let terminal = process.terminal().unwrap_or(false);
    if console.is_some() != (detach && terminal) {
        return Err(CliError::Usage { expected: "--console-socket exactly with --detach and a terminal" });
    }
    let sockets = create::Sockets::connect(console.as_deref(), flags.path("pidfd-socket").as_deref())?;
    let foreground = (!detach).then(foreground::Foreground::prepare).transpose()?;
    let container = ContainerProcess { pid: record.pid, pidfd };
    let filters = context.store.filters();
    let request = ExecRequest {
        container: &container,
        spec: &spec,
        filter: None,
        process: &process,
        cgroup: &cgroup,
        stdio: create::stdio(&process),
        filters: Some(&filters),
    };
    let preserve_fds = Inherited::preserved(flags.number("preserve-fds")?.unwrap_or(0))?.count();
    log.step(&format!("enter container {id} by its process {}", record.pid));
    let told = crate::hooks::Context::new(&id, record.bundle.clone(), &spec);
    let extras = Extras { preserve_fds, plain_newlines: !detach, ..Extras::default() };
    let executed = exec_with(request, extras, Some(told))?;
    executed.warnings.iter().for_each(|warning| log.warning(warning));
    let told = flags.path("pid-file").map_or(Ok(()), |path| replace(&path, executed.pid.to_string().as_bytes()));
    let told = told.and_then(|()| sockets.hand_over(executed.terminal.as_ref(), executed.pidfd.as_fd()));
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
fn process(flags: &Flags, spec: &Spec, command: &[OsString], log: &mut Log) -> Result<Process, CliError> {
    let mut process: Process = match flags.path("process") {
        Some(path) => {
            let read = config::read(&path, config::Process::Whole)?;
            read.warnings.iter().for_each(|warning| log.warning(warning));
            read.value
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
    if flags.given("no-new-privs") {
        process.set_no_new_privileges(Some(flags.switch("no-new-privs")));
    }
    if let Some(label) = flags.text("process-label")? {
        process.set_selinux_label(Some(label));
    }
    if let Some(profile) = flags.text("apparmor")? {
        process.set_apparmor_profile(Some(profile));
    }
    if let Some(cwd) = flags.path("cwd") {
        process.set_cwd(cwd);
    }
    let mut environment = process.env().clone().unwrap_or_default();
    environment.extend(flags.texts("env")?);
    process.set_env(Some(environment));
    if let Some(user) = flags.text("user")? {
        change_user(process.user_mut(), &user)?;
    }
    let mut groups = process.user().additional_gids().clone().unwrap_or_default();
    for group in flags.texts("additional-gids")? {
        groups.push(id_number("additional-gids", &group)?);
    }
    process.user_mut().set_additional_gids(Some(groups));
    add_capabilities(&mut process, &flags.texts("cap")?, log);
    Ok(process)
}

/// Where below the container's cgroup: one path, or `controller[,controller…]:path` for v1's hierarchies.
fn below(given: &[String]) -> Result<Option<Below>, CliError> {
    let invalid = |value: &String, expected| CliError::InvalidValue { flag: "cgroup", value: value.clone(), expected };
    let mut named: Vec<(String, String)> = Vec::new();
    for value in given {
        // A hierarchy without controllers is called name=NAME; a path may have anything after the first colon.
        let Some((controllers, path)) = value.split_once(':') else {
            return match given {
                [path] => Ok(Some(Below::Everywhere(path.clone()))),
                _ => Err(invalid(value, "controller:path, when it is given more than once")),
            };
        };
        for controller in controllers.split(',') {
            if controller.is_empty() || named.iter().any(|(known, _)| known == controller) {
                return Err(invalid(value, "each controller once"));
            }
            named.push((controller.to_owned(), path.to_owned()));
        }
    }
    Ok((!named.is_empty()).then_some(Below::PerController(named)))
}

fn id_number(flag: &'static str, text: &str) -> Result<u32, CliError> {
    text.parse().map_err(|_| CliError::InvalidValue { flag, value: text.into(), expected: "a number" })
}

/// `UID` or `UID:GID`; what is not given stays as the container's process has it.
fn change_user(user: &mut User, text: &str) -> Result<(), CliError> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    user.set_uid(id_number("user", uid)?);
    if let Some(gid) = gid {
        user.set_gid(id_number("user", gid)?);
    }
    Ok(())
}

/// Adds to all sets but the inheritable one; to the ambient one only what may be in it.
fn add_capabilities(process: &mut Process, names: &[String], log: &mut Log) {
    let mut added = Capabilities::new();
    for name in names {
        match serde_json::from_value::<Capability>(serde_json::Value::String(name.clone())) {
            Ok(capability) if config::is_capability(name) => drop(added.insert(capability)),
            _ => log.warning(&format!("--cap {name:?} is no capability, and left out")),
        }
    }
    if added.is_empty() {
        return;
    }
    let mut sets = process.capabilities().clone().unwrap_or_else(no_capabilities);
    let with = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
    let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    if sets.inheritable().is_some() {
        let ambient = with(sets.ambient());
        sets.set_ambient(ambient);
    }
    process.set_capabilities(Some(sets));
}

fn no_capabilities() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_one_path_or_one_for_each_controller() {
        let read = |given: &[&str]| below(&given.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["/a/b"]).unwrap(), Some(Below::Everywhere("/a/b".into())));
        let named = |list: &[(&str, &str)]| {
            Some(Below::PerController(list.iter().map(|(name, path)| ((*name).into(), (*path).into())).collect()))
        };
        assert_eq!(
            read(&["cpu,cpuacct:a", "memory:b"]).unwrap(),
            named(&[("cpu", "a"), ("cpuacct", "a"), ("memory", "b")])
        );
        for bad in [&["a", "b"][..], &[":a"], &["cpu:a", "cpu:b"], &["cpu:a", "b"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
