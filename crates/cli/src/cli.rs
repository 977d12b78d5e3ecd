// SPDX-License-Identifier: Apache-2.0
//! The command line: from arguments to one command, and from its outcome to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{Parser, Subcommand};
use client::{Client, Endpoint};
use errors::{Kind, Report};

use crate::failure::Failure;
use crate::{commands, printer, process};

/// Build, ship and run containers with one program.
#[derive(Debug, Parser)]
#[command(name = "corten", version, disable_help_subcommand = true, max_term_width = 120)]
struct Line {
    /// The daemon's address, as in unix:///run/corten/corten.sock
    #[arg(short = 'H', long, global = false, value_name = "ADDRESS")]
    host: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(commands::run::Args),
    Create(commands::create::Args),
    Start(commands::start::Args),
    Stop(commands::stop::Args),
    Restart(commands::restart::Args),
    Kill(commands::kill::Args),
    Pause(commands::pause::Args),
    Unpause(commands::unpause::Args),
    Rename(commands::rename::Args),
    Update(commands::update::Args),
    Wait(commands::wait::Args),
    Rm(commands::rm::Args),
    Ps(commands::ps::Args),
    Top(commands::top::Args),
    Stats(commands::stats::Args),
    Port(commands::port::Args),
    Logs(commands::logs::Args),
    Exec(commands::exec::Args),
    Attach(commands::attach::Args),
    Inspect(commands::inspect::Args),
    Images(commands::images::Args),
    Image(commands::image::Args),
    Tag(commands::tag::Args),
    History(commands::history::Args),
    Rmi(commands::rmi::Args),
    Pull(commands::pull::Args),
    Push(commands::push::Args),
    Copy(commands::copy::Args),
    Login(commands::login::Args),
    Logout(commands::logout::Args),
    Import(commands::import::Args),
    Export(commands::export::Args),
    Diff(commands::diff::Args),
    Commit(commands::commit::Args),
    Save(commands::save::Args),
    Load(commands::load::Args),
    Trust(commands::trust::Args),
    System(commands::system::Args),
    Events(commands::events::Args),
    Info(commands::info::Args),
    Version(commands::version::Args),
    Daemon(commands::daemon::Args),
    Registry(commands::registry::Args),
}

/// What every command may use.
#[derive(Debug)]
pub(crate) struct Context {
    /// The daemon.
    pub(crate) client: Client,
    /// When `main` began: `CLOCK_MONOTONIC`, nanoseconds.
    pub(crate) start_ns: u64,
}

/// Run the command line `arguments` (with the program's name first).
pub(crate) fn main(arguments: impl Iterator<Item = OsString>, start_ns: u64) -> ExitCode {
    let outcome = match Line::try_parse_from(arguments) {
        Ok(line) => execute(line, start_ns),
        Err(error) => refuse(&error),
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

fn execute(line: Line, start_ns: u64) -> Result<u8, Failure> {
    // Two are servers, not clients of one, and a copy needs none.
    match line.command {
        Command::Daemon(args) => return commands::daemon::run(args, line.host),
        Command::Registry(args) => return commands::registry::run(args),
        Command::Copy(args) => return commands::copy::run(args),
        _ => {}
    }
    let endpoint = Endpoint::resolve(line.host.as_deref(), |name| std::env::var(name).ok());
    let is_run = matches!(line.command, Command::Run(_) | Command::Create(_) | Command::Exec(_));
    let outcome = endpoint.map_err(Failure::from).and_then(|endpoint| {
        let runtime = process::small_event_loop()?;
        let context = Context { client: Client::new(endpoint), start_ns };
        let outcome = runtime.block_on(dispatch(line.command, &context));
        // A thread may still wait for a key: it must not be waited for.
        runtime.shutdown_background();
        outcome
    });
    outcome.map_err(|failure| if is_run { failure.of_run() } else { failure })
}

async fn dispatch(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => commands::run::run(args, context).await,
        Command::Create(args) => commands::create::run(args, context).await,
        Command::Start(args) => commands::start::run(args, context).await,
        Command::Stop(args) => commands::stop::run(args, context).await,
        Command::Restart(args) => commands::restart::run(args, context).await,
        Command::Kill(args) => commands::kill::run(args, context).await,
        Command::Pause(args) => commands::pause::run(args, context).await,
        Command::Unpause(args) => commands::unpause::run(args, context).await,
        Command::Rename(args) => commands::rename::run(args, context).await,
        Command::Update(args) => commands::update::run(args, context).await,
        Command::Wait(args) => commands::wait::run(args, context).await,
        Command::Rm(args) => commands::rm::run(args, context).await,
        Command::Ps(args) => commands::ps::run(args, context).await,
        Command::Top(args) => commands::top::run(args, context).await,
        Command::Stats(args) => commands::stats::run(args, context).await,
        Command::Port(args) => commands::port::run(args, context).await,
        Command::Logs(args) => commands::logs::run(args, context).await,
        Command::Exec(args) => commands::exec::run(args, context).await,
        Command::Attach(args) => commands::attach::run(args, context).await,
        Command::Inspect(args) => commands::inspect::run(args, context).await,
        Command::Images(args) => commands::images::run(args, context).await,
        Command::Image(args) => commands::image::run(args, context).await,
        Command::Tag(args) => commands::tag::run(args, context).await,
        Command::History(args) => commands::history::run(args, context).await,
        Command::Rmi(args) => commands::rmi::run(args, context).await,
        Command::Pull(args) => commands::pull::run(args, context).await,
        Command::Push(args) => commands::push::run(args, context).await,
        Command::Copy(args) => commands::copy::run(args),
        Command::Login(args) => commands::login::run(args, context).await,
        Command::Logout(args) => commands::logout::run(&args),
        Command::Import(args) => commands::import::run(args, context).await,
        Command::Diff(args) => commands::diff::run(args, context).await,
        Command::Export(args) => commands::export::run(args, context).await,
        Command::Commit(args) => commands::commit::run(args, context).await,
        Command::Save(args) => commands::save::run(args, context).await,
        Command::Load(args) => commands::load::run(args, context).await,
        Command::Trust(args) => commands::trust::run(args, context).await,
        Command::System(args) => commands::system::run(args, context).await,
        Command::Events(args) => commands::events::run(args, context).await,
        Command::Info(args) => commands::info::run(args, context).await,
        Command::Version(args) => commands::version::run(args, context).await,
        Command::Daemon(args) => commands::daemon::run(args, None),
        Command::Registry(args) => commands::registry::run(args),
    }
}

/// What to say about arguments that are not understood, and Docker's exit code: 125 for a wrong flag, 1 for the rest.
fn refuse(error: &clap::Error) -> Result<u8, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            printer::data(error.render().to_string().as_bytes());
            return Ok(0);
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            printer::error_data(error.render().to_string().as_bytes());
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
        // What Docker has in its group is here with the first version that has it at all.
        assert_eq!(root.find_subcommand("build").is_some(), group.find_subcommand("build").is_some());
    }

    #[test]
    fn help_is_no_failure() {
        let error = Line::try_parse_from(["corten", "run", "--help"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DisplayHelp);
    }
}
