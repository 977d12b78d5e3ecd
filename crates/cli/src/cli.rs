// SPDX-License-Identifier: Apache-2.0
//! The command line: from arguments to one command, and from its outcome to an exit code.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use client::{Client, Endpoint, Wish};
use errors::{Kind, Report};

use crate::commands::*;
use crate::failure::Failure;
use crate::help::{self, Section};
use crate::{environment, examples, printer, process};

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
#[derive(Debug, clap::Args)]
#[group(skip)]
struct Global {
    /// The context whose daemon is meant; `corten context ls` lists all
    #[arg(short, long, value_name = "NAME")]
    context: Option<String>,
    /// Where Docker's client configuration and the contexts are [default: ~/.docker]
    #[arg(long, value_name = "DIRECTORY")]
    config: Option<PathBuf>,
    /// The daemon's address: unix:///PATH, tcp://HOST:PORT or ssh://[USER@]HOST[:PORT]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    host: Vec<String>,
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
    fn wish(self, as_docker: bool) -> Result<Wish, Failure> {
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
            as_docker,
            host,
            context: self.context,
            tls_verify: self.tlsverify,
            authority: self.tlscacert,
            certificate: self.tlscert,
            key: self.tlskey,
        })
    }
}

#[derive(Debug, Subcommand)]
enum AnyCommand {
    #[command(flatten)]
    OfTheDaemon(Box<Command>),
    #[command(flatten)]
    Alone(Box<Alone>),
}

commands! {
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

/// Commands that ask no daemon: two are servers themselves, the others need none.
#[derive(Debug, Subcommand)]
enum Alone {
    Completion(completion::Args),
    Context(context::Args),
    Copy(copy::Args),
    Daemon(daemon::Args),
    Man(man::Args),
    Registry(registry::Args),
    #[command(name = "__complete", hide = true)]
    Complete(complete::Args),
}

/// Where the help lists [`Alone`].
const ALONE: Section = Section { heading: "Commands without a daemon", commands: 6 };

/// What every command may use.
#[derive(Debug)]
pub(crate) struct Context {
    /// The daemon.
    pub(crate) client: Client,
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
    examples::add(root)
}

/// Run the command line `arguments` (with the program's name first).
pub(crate) fn main(arguments: impl Iterator<Item = OsString>, start_ns: u64) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let as_docker = arguments.first().is_some_and(|program| is_docker(program));
    let outcome = match Line::try_parse_from(&arguments) {
        Ok(line) => configured(line, &arguments).and_then(|line| execute(line, as_docker, start_ns)),
        Err(error) => refuse(&with_headings(error, &arguments)),
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

/// Whether the program was called as `docker`, for which it then stands in.
fn is_docker(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "docker")
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
    line.map_err(|error| match refuse(&error) {
        Err(failure) => failure.with_hint(format!("the value stands in {}", path.display())),
        Ok(_) => Failure::told(),
    })
}

fn execute(line: Line, as_docker: bool, start_ns: u64) -> Result<u8, Failure> {
    if let Some(directory) = &line.global.config {
        environment::set_docker_config(directory);
    }
    let command = match line.command {
        AnyCommand::OfTheDaemon(command) => command,
        AnyCommand::Alone(command) => {
            return match *command {
                Alone::Complete(args) => complete::run(&args, &definition(), line.global.wish(as_docker)?),
                Alone::Completion(args) => completion::run(&args, as_docker),
                Alone::Context(args) => context::run(args, &line.global.wish(as_docker)?),
                Alone::Copy(args) => copy::run(args),
                Alone::Daemon(args) => daemon::run(args, line.global.host),
                Alone::Man(args) => man::run(&args, definition()),
                Alone::Registry(args) => registry::run(args),
            };
        }
    };
    let runs_something = match &*command {
        Command::Run(_) | Command::Create(_) => true,
        Command::Container(group) => group.runs_something(),
        _ => false,
    };
    let outcome = line.global.wish(as_docker).and_then(|wish| {
        let endpoint = Endpoint::resolve(&wish, environment::variable)?;
        let runtime = process::small_event_loop()?;
        let context = Context { client: Client::new(endpoint), start_ns };
        let outcome = runtime.block_on(command.dispatch(&context));
        // A thread may still wait for a key: it must not be waited for.
        runtime.shutdown_background();
        outcome
    });
    outcome.map_err(|failure| if runs_something { failure.of_run() } else { failure })
}

/// The same error, its help below headings: only who asks for help waits for their making.
fn with_headings(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if is_help(&error) { definition().try_get_matches_from(arguments).err().unwrap_or(error) } else { error }
}

fn is_help(error: &clap::Error) -> bool {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
    matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand)
}

/// What to say about arguments that are not understood, and Docker's exit code: 125 for a wrong flag, 1 for the rest.
fn refuse(error: &clap::Error) -> Result<u8, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            printer::data(help::render(&error.render(), &io::stdout()).as_bytes());
            return Ok(0);
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            printer::error_data(help::render(&error.render(), &io::stderr()).as_bytes());
            return Err(Failure::told());
        }
        _ => {}
    }
    let code = match error.kind() {
        ErrorKind::MissingRequiredArgument | ErrorKind::InvalidSubcommand => 1,
        _ => 125,
    };
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let hint = match (error.get(ContextKind::SuggestedSubcommand), error.get(ContextKind::SuggestedArg)) {
        (Some(similar), _) | (_, Some(similar)) => format!("there is {similar}; `--help` lists all"),
        _ => "`--help` says what is understood".to_owned(),
    };
    let report = Report::new(Kind::InvalidArgument, message.join(" ")).with_hint(hint);
    Err(Failure { report: Some(report), code })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn refused(line: &str) -> Failure {
        let words = std::iter::once("corten").chain(line.split_whitespace());
        refuse(&Line::try_parse_from(words).unwrap_err()).unwrap_err()
    }

    #[test]
    fn the_definition_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn wrong_flags_are_125_and_missing_arguments_1() {
        for (line, code, part) in [
            ("run --nonsense debian", 125, "--nonsense"),
            ("run --memory lots debian", 125, "lots"),
            ("ps --nonsense", 125, "--nonsense"),
            ("rm", 1, "CONTAINER"),
            ("nonsense", 1, "nonsense"),
        ] {
            let failure = refused(line);
            assert_eq!(failure.code, code, "{line}");
            let report = failure.report.unwrap();
            assert!(report.message.contains(part), "{line}: {}", report.message);
            assert!(!report.message.contains('\n') && report.hint.is_some(), "{line}");
        }
    }

    /// The commands of `docker image`, without `build`, which is no command here yet.
    #[test]
    fn every_command_about_images_is_in_the_group_as_well() {
        let root = Line::command();
        let group = root.find_subcommand("image").unwrap();
        for (alone, grouped) in [
            ("history", "history"),
            ("images", "ls"),
            ("import", "import"),
            ("inspect", "inspect"),
            ("load", "load"),
            ("pull", "pull"),
            ("push", "push"),
            ("rmi", "rm"),
            ("save", "save"),
            ("tag", "tag"),
        ] {
            assert!(root.find_subcommand(alone).is_some(), "{alone}");
            assert!(group.find_subcommand(grouped).is_some(), "image {grouped}");
        }
        assert!(group.find_subcommand("prune").is_some());
        let group = root.find_subcommand("container").unwrap();
        for name in group.get_subcommands().map(clap::Command::get_name).filter(|name| !["ls", "prune"].contains(name))
        {
            assert!(root.find_subcommand(name).is_some(), "{name}");
        }
        // What Docker has in its group is here with the first version that has it at all.
        assert_eq!(root.find_subcommand("build").is_some(), group.find_subcommand("build").is_some());
    }

    #[test]
    fn the_help_lists_every_command_once_and_below_a_heading() {
        let mut definition = definition();
        let groups = ["container", "image", "network", "system"]
            .map(|name| definition.find_subcommand_mut(name).unwrap().clone());
        let helps = std::iter::once(definition).chain(groups);
        for mut command in helps {
            let text = command.render_help().to_string();
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
                let line = format!("\n  {} ", sub.get_name());
                assert_eq!(text.matches(&line).count(), 1, "{}: {}\n{text}", command.get_name(), sub.get_name());
            }
            assert!(text.contains("ommands:\n") && text.contains("Options:\n"), "{text}");
        }
    }

    #[test]
    fn help_is_no_failure() {
        let error = Line::try_parse_from(["corten", "run", "--help"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DisplayHelp);
    }
}
