// SPDX-License-Identifier: Apache-2.0
//! runc's command line: the OCI runtime as containerd, Docker, podman and a user at a prompt call it.
//!
//! One file per command. Arguments are read by hand (`flags`): start-up time counts here, and there are few.

mod checkpoint;
mod config;
mod create;
mod criu_flags;
mod delete;
mod error;
mod events;
mod exec;
mod features;
mod flags;
mod foreground;
mod help;
mod hooks;
mod inherited;
mod kill;
mod list;
mod log;
mod pause;
mod ps;
mod restore;
mod resume;
mod size;
mod spec;
#[cfg(test)]
pub(crate) use spec::sample;
mod start;
mod state;
mod statistics;
mod store;
mod time;
mod update;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use errors::Report;

use error::CliError;
use flags::{Flag, Flags};
use log::Log;
use store::Store;

use crate::prepare;

const DEFAULT_ROOT: &str = "/run/corten/oci";

const GLOBAL: &[Flag] = &[
    Flag::value("root"),
    Flag::value("log"),
    Flag::value("log-format"),
    Flag::switch("debug"),
    Flag::switch("systemd-cgroup"),
    Flag::value("rootless"),
    Flag::switch("help").short('h'),
    Flag::switch("version").short('v'),
];

/// What every command gets.
struct Context {
    store: Store,
    /// Whether systemd makes the cgroups of new containers.
    systemd_cgroup: bool,
    /// `--rootless`: whether the caller may be without cgroups; `None` finds out.
    rootless: Option<bool>,
}

/// Runs the OCI command line with these arguments (without the program's name and the word `oci`). Returns the exit
/// code: the container's own for `run` and `exec`; 127 or 126 when their command is missing or cannot be executed; for
/// any other failure 255 of `exec`, whose command may well answer 1, and 1 of the rest, as runc does.
pub fn main(args: impl Iterator<Item = OsString>) -> u8 {
    let mut log = Log::default();
    let mut failed = 1;
    match dispatch(args.collect(), &mut log, &mut failed) {
        Ok(code) => code,
        Err(error) => {
            let report = Report::from(&error);
            log.error(&report);
            match report.kind {
                kind @ (errors::Kind::CommandNotFound | errors::Kind::NotExecutable) => kind.run_exit_code(),
                _ => failed,
            }
        }
    }
}

fn dispatch(args: Vec<OsString>, log: &mut Log, failed: &mut u8) -> Result<u8, CliError> {
    let flags = Flags::leading(args, GLOBAL)?;
    if flags.switch("help") {
        return print(&help::all());
    }
    if flags.switch("version") {
        // The form that Docker reads (moby, `parseRuntimeVersion`): a name, the word, the number.
        return print(&format!("corten-oci version {}\nspec: {}\n", env!("CARGO_PKG_VERSION"), features::NEWEST));
    }
    *log = Log::open(flags.path("log"), flags.text("log-format")?, flags.switch("debug"))?;
    let rootless = match flags.text("rootless")?.as_deref() {
        None | Some("auto") => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(value) => {
            let (value, expected) = (value.to_owned(), "auto, true or false");
            return Err(CliError::InvalidValue { flag: "rootless", value, expected });
        }
    };
    let context = Context {
        store: match flags.path("root") {
            Some(root) => Store::named(root),
            None => Store::usual(default_root()?),
        },
        systemd_cgroup: flags.switch("systemd-cgroup"),
        rootless,
    };
    let mut rest = flags.rest.into_iter();
    let Some(command) = rest.next() else {
        std::io::stderr().write_all(help::all().as_bytes()).map_err(CliError::Print)?;
        return Err(CliError::Usage { expected: "a command" });
    };
    let rest: Vec<OsString> = rest.collect();
    let command = command.to_str().unwrap_or_default();
    if rest.first().is_some_and(|first| first == "--help" || first == "-h")
        && let Some(text) = help::of(command)
    {
        return print(&text);
    }
    if command == "exec" {
        *failed = 255;
    }
    match command {
        "create" => create::create(&context, rest, log),
        "run" => create::run(&context, rest, log),
        "start" => start::start(&context, rest),
        "exec" => exec::exec(&context, rest, log),
        "state" => state::state(&context, rest),
        "list" => list::list(&context, rest, log),
        "ps" => ps::ps(&context, rest),
        "pause" => pause::pause(&context, rest),
        "resume" => resume::resume(&context, rest),
        "update" => update::update(&context, rest, log),
        "events" => events::events(&context, rest),
        "kill" => kill::kill(&context, rest),
        "delete" => delete::delete(&context, rest, log),
        "checkpoint" => checkpoint::checkpoint(&context, rest, log),
        "restore" => restore::restore(&context, rest, log),
        "spec" => spec::spec(rest),
        "features" => features::features(rest),
        "help" => print(&help::all()),
        _ => Err(CliError::UnknownCommand { name: command.to_owned() }),
    }
}

/// Where containers are remembered: in the user's runtime directory for whoever is not the host's root. Root of a user
/// namespace that is called root is taken for the host's, as runc does.
fn default_root() -> Result<PathBuf, CliError> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let Some(own) = own else { return Ok(DEFAULT_ROOT.into()) };
    let named_root = || std::env::var_os("USER").is_some_and(|name| name == "root");
    let is_hosts = rustix::process::geteuid().is_root() && (named_root() || prepare::in_initial_user_namespace()?);
    Ok(if is_hosts { DEFAULT_ROOT.into() } else { PathBuf::from(own).join("corten/oci") })
}

/// Writes to standard output: data, so nothing else is ever written there.
fn print(text: &str) -> Result<u8, CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CliError::Print)?;
    Ok(0)
}
