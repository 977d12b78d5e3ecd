// SPDX-License-Identifier: Apache-2.0
//! The command line: from arguments to one command, and from its outcome to an exit code.

pub(crate) mod plain;
mod refusal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use client::{Client, Endpoint, Wish};
use errors::Kind;

use self::refusal::refuse;
use crate::commands::*;
use crate::failure::Failure;
use crate::help::{self, Section};
use crate::{environment, examples, printer, process, program};

/// Build, ship and run containers with one program.
#[derive(Debug, Parser)]
#[command(name = "corten", version, disable_help_subcommand = true, max_term_width = 120, styles = help::STYLES)]
struct Line {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: AnyCommand,
}

/// What stands before the command: which daemon is meant.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
struct Global {
    /// The context whose daemon is meant; `corten context ls` lists all
    #[arg(short, long, value_name = "NAME")]
    context: Option<String>,
    /// Where Docker's client configuration and the contexts are [default: ~/.docker]
    #[arg(long, value_name = "DIRECTORY")]
    config: Option<PathBuf>,
    /// Accepted for Docker's sake: the command line has no log of its own
    #[arg(short = 'D', long)]
    debug: bool,
    /// The daemon's address: unix:///PATH, tcp://HOST:PORT or ssh://[USER@]HOST[:PORT]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    host: Vec<String>,
    /// Accepted for Docker's sake: the command line has no log of its own
    #[arg(short, long, value_name = "LEVEL", value_parser = ["debug", "info", "warn", "error", "fatal"])]
    log_level: Option<String>,
    /// Use TLS; implied by --tlsverify, without which it is refused
    #[arg(long)]
    tls: bool,
    /// Use TLS with tcp://, and verify the daemon's certificate
    #[arg(long)]
    tlsverify: bool,
    /// The authority of the daemon's certificate, in PEM [default: ca.pem in $DOCKER_CERT_PATH or ~/.docker]
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// The certificate to show to the daemon, in PEM [default: cert.pem there]
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// Its key, in PEM [default: key.pem there]
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
}

impl Global {
    /// Which daemon these flags mean.
    fn wish(self) -> Result<Wish, Failure> {
        if self.tls && !self.tlsverify {
            return Err(Failure::new(
                Kind::Unsupported,
                "TLS without --tlsverify would trust any server that answers, and is not supported",
            ));
        }
        let mut hosts = self.host.into_iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Failure::new(Kind::InvalidArgument, "a command asks one daemon: give -H once"));
        }
        Ok(Wish {
            as_docker: program::is_docker(),
            host,
            context: self.context,
            tls_verify: self.tlsverify,
            authority: self.tlscacert,
            certificate: self.tlscert,
            key: self.tlskey,
        })
    }
}

/// [`Line`] without its commands.
#[derive(Debug, Parser)]
#[command(name = "corten", disable_help_subcommand = true, subcommand_required = true)]
struct Flags {
    #[command(flatten)]
    _global: Global,
}

#[derive(Debug, Subcommand)]
enum AnyCommand {
    #[command(flatten)]
    OfTheDaemon(Box<Command>),
    #[command(flatten)]
    Alone(Box<Alone>),
}

commands! {
    deferred;
    "Common commands" {
        Run(run::Args) => run::run,
        Exec(exec::Args) => exec::run,
        Ps(ps::Args) => ps::run,
        Pull(pull::Args) => pull::run,
        Push(push::Args) => push::run,
        Images(images::Args) => images::run,
        Login(login::Args) => login::run,
        Logout(logout::Args) => logout::run,
        Version(version::Args) => version::run,
        Info(info::Args) => info::run,
    }
    "Management commands" {
        Container(container::Args) => container::run,
        Image(image::Args) => image::run,
        Network(network::Args) => network::run,
        System(system::Args) => system::run,
        Trust(trust::Args) => trust::run,
        Volume(volume::Args) => volume::run,
    }
    "Commands" {
        Attach(attach::Args) => attach::run,
        Commit(commit::Args) => commit::run,
        Cp(cp::Args) => cp::run,
        Create(create::Args) => create::run,
        Diff(diff::Args) => diff::run,
        Events(events::Args) => events::run,
        Explain(explain::Args) => explain::run,
        Export(export::Args) => export::run,
        History(history::Args) => history::run,
        Import(import::Args) => import::run,
        Inspect(inspect::Args) => inspect::run,
        Kill(kill::Args) => kill::run,
        Load(load::Args) => load::run,
        Logs(logs::Args) => logs::run,
        Pause(pause::Args) => pause::run,
        Port(port::Args) => port::run,
        Rename(rename::Args) => rename::run,
        Restart(restart::Args) => restart::run,
        Rm(rm::Args) => rm::run,
        Rmi(rmi::Args) => rmi::run,
        Save(save::Args) => save::run,
        Start(start::Args) => start::run,
        Stats(stats::Args) => stats::run,
        Stop(stop::Args) => stop::run,
        Tag(tag::Args) => tag::run,
        Top(top::Args) => top::run,
        Unpause(unpause::Args) => unpause::run,
        Update(update::Args) => update::run,
        Wait(wait::Args) => wait::run,
    }
}

macro_rules! alone {
    ($($(#[$attribute:meta])* $name:ident($args:ty),)*) => {
        /// Commands that ask no daemon: two are servers themselves, the others need none.
        #[derive(Debug, Subcommand)]
        enum Alone {
            $($(#[$attribute])* $name($args),)*
        }

        #[derive(Subcommand)]
        #[command(defer = true)]
        enum AloneDeferred {
            $($(#[$attribute])* $name($args),)*
        }
    };
}

alone! {
    Completion(completion::Args),
    Context(context::Args),
    Copy(copy::Args),
    Daemon(Box<daemon::Args>),
    Man(man::Args),
    Registry(registry::Args),
    #[command(name = "__complete", hide = true)]
    Complete(complete::Args),
}

/// The definition of the command line for who says nothing wrong: the flags of one command are made, not those of all,
/// which would be a fifth of what `ps` takes. Its errors and its help are not shown.
fn quick_definition() -> clap::Command {
    AloneDeferred::augment_subcommands(Deferred::augment_subcommands(Flags::command()))
}

/// Where the help lists [`Alone`].
const ALONE: Section = Section { heading: "Commands without a daemon", commands: 6 };

/// What every command may use.
#[derive(Debug)]
pub(crate) struct Context {
    /// The daemon.
    pub(crate) client: Client,
    /// What the command line says of which daemon is meant.
    pub(crate) wish: Wish,
    /// When `main` began: `CLOCK_MONOTONIC`, nanoseconds.
    pub(crate) start_ns: u64,
}

/// The definition of the command line, with all that its help says.
pub(crate) fn definition() -> clap::Command {
    let sections = [SECTIONS, &[ALONE]].concat();
    let group = |sections: &'static [Section]| move |group| help::with_sections(group, sections);
    let root = help::with_sections(Line::command(), &sections)
        .mut_subcommand("container", group(container::SECTIONS))
        .mut_subcommand("image", group(image::SECTIONS))
        .mut_subcommand("network", group(network::SECTIONS))
        .mut_subcommand("system", group(system::SECTIONS))
        .mut_subcommand("volume", group(volume::SECTIONS));
    examples::add(root).name(program::name())
}

/// The names of all commands.
pub(crate) fn command_names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| Line::command().get_subcommands().map(|command| command.get_name().to_owned()).collect())
}

/// Run the command line `arguments` (with the program's name first).
pub(crate) fn main(arguments: impl Iterator<Item = OsString>, start_ns: u64) -> ExitCode {
    /// What asking the daemon for something takes of the heap, in bytes.
    const HEAP: usize = 96 << 10;

    let arguments = arguments.collect::<Vec<_>>();
    let outcome = match plain::line(&arguments) {
        Some(line) => {
            sys::memory::populate_heap(HEAP);
            execute(line, start_ns)
        }
        None => by_clap(arguments, start_ns),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if let Some(report) = &failure.report {
                printer::failure(report);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// The long way. Apart from the rest, because clap's structures need ten pages of stack, each of which is a fault when it is
/// first touched; the short way shall not pay for them.
#[inline(never)]
fn by_clap(arguments: Vec<OsString>, start_ns: u64) -> Result<u8, Failure> {
    let arguments = with_help_as_a_flag(arguments);
    match parse(&arguments) {
        Ok(line) => configured(line, &arguments).and_then(|line| execute(line, start_ns)),
        Err(error) => refuse(&with_headings(error, &arguments), &arguments),
    }
}

/// `help ps` is `ps --help`.
fn with_help_as_a_flag(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    arguments
}

/// What the arguments say. Whatever follows a flag with a value is that value to Docker, be it `-1s` or `-x`, and each flag
/// without one may be told `=false`; only an error has to be looked at twice for that.
fn parse(arguments: &[OsString]) -> Result<Line, clap::Error> {
    let quick = quick_definition().try_get_matches_from(arguments).and_then(|matches| Line::from_arg_matches(&matches));
    if quick.is_ok() {
        return quick;
    }
    let error = match Line::try_parse_from(arguments) {
        Err(error) if !is_help(&error) && error.kind() != ErrorKind::DisplayVersion => error,
        other => return other,
    };
    let definition = as_docker_reads(Line::command());
    let again = definition.try_get_matches_from(arguments).and_then(|matches| Line::from_arg_matches(&matches));
    again.map_err(|second| if is_help(&second) { error } else { second })
}

/// The same commands, whose flags take values that begin with a hyphen, and `=true` and `=false` where they have none.
fn as_docker_reads(command: clap::Command) -> clap::Command {
    let takes_a_word = |arg: &clap::Arg| {
        let least = arg.get_num_args().map_or(1, |range| range.min_values());
        !arg.is_positional() && arg.get_action().takes_values() && least > 0
    };
    let command = command.mut_args(|arg| match arg.get_action() {
        _ if takes_a_word(&arg) => arg.allow_hyphen_values(true),
        clap::ArgAction::SetTrue => {
            let switch = arg.action(clap::ArgAction::Set).num_args(0..=1).require_equals(true).value_parser(truth);
            switch.default_value("false").default_missing_value("true")
        }
        _ => arg,
    });
    command.mut_subcommands(as_docker_reads)
}

fn truth(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err("it is neither true nor false"),
    }
}

/// The same line, with what the daemon's configuration file says where no flag was given.
fn configured(line: Line, arguments: &[OsString]) -> Result<Line, Failure> {
    let AnyCommand::Alone(command) = &line.command else { return Ok(line) };
    let Alone::Daemon(args) = &**command else { return Ok(line) };
    let Some(path) = daemon::config_file::place(args.config_file.as_deref()) else { return Ok(line) };
    let mut problem = None;
    let definition = Line::command().mut_subcommand("daemon", |daemon| {
        let unchanged = daemon.clone();
        daemon::config_file::apply(daemon, &path).unwrap_or_else(|failure| {
            problem = Some(failure);
            unchanged
        })
    });
    if let Some(failure) = problem {
        return Err(failure);
    }
    let line = definition.try_get_matches_from(arguments).and_then(|matches| Line::from_arg_matches(&matches));
    line.map_err(|error| match refuse(&error, arguments) {
        Err(failure) => failure.with_hint(format!("the value stands in {}", path.display())),
        Ok(_) => Failure::told(),
    })
}

fn execute(line: Line, start_ns: u64) -> Result<u8, Failure> {
    if let Some(directory) = &line.global.config {
        environment::set_docker_config(directory);
    }
    let command = match line.command {
        AnyCommand::OfTheDaemon(command) => command,
        AnyCommand::Alone(command) => return alone(*command, line.global),
    };
    let runs_something = match &*command {
        Command::Run(_) | Command::Create(_) => true,
        Command::Container(group) => group.runs_something(),
        _ => false,
    };
    let outcome = line.global.wish().and_then(|wish| {
        let endpoint = Endpoint::resolve(&wish, environment::variable)?;
        let runtime = process::small_event_loop()?;
        let context = Context { client: Client::new(endpoint), wish, start_ns };
        let outcome = runtime.block_on(command.dispatch(&context));
        // The process ends: its event loop need not be taken down, nor a thread be waited for that waits for a key.
        std::mem::forget(runtime);
        outcome
    });
    outcome.map_err(|failure| if runs_something { failure.of_run() } else { failure })
}

/// Runs a command that asks no daemon. Apart from the others for its stack, as [`by_clap`].
#[inline(never)]
fn alone(command: Alone, global: Global) -> Result<u8, Failure> {
    match command {
        Alone::Complete(args) => complete::run(&args, &definition(), global.wish()?),
        Alone::Completion(args) => completion::run(&args),
        Alone::Context(args) => context::run(args, &global.wish()?),
        Alone::Copy(args) => copy::run(args),
        Alone::Daemon(args) => daemon::run(*args, global.host),
        Alone::Man(args) => man::run(&args, definition()),
        Alone::Registry(args) => registry::run(args),
    }
}

/// The same error, its help below headings: only who asks for help waits for their making.
fn with_headings(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if is_help(&error) { definition().try_get_matches_from(arguments).err().unwrap_or(error) } else { error }
}

fn is_help(error: &clap::Error) -> bool {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
    matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand)
}

#[cfg(test)]
mod tests;
