// SPDX-License-Identifier: Apache-2.0
//! `corten run`: create and start a container, and stay with it unless it is detached.

use api_types::docker::ContainerCreateBody;
use api_types::{RunRequest, RunResponse, Streams, Wish};
use client::{Client, ClientError, RunAnswer, Session, Untagged};
use errors::{Classify, Kind};

use crate::cli::Context;
use crate::cli::plain::{Operands, Place, Plain};
use crate::failure::Failure;
use crate::flags::cidfile::IdFile;
use crate::flags::container::{ContainerFlags, Pull, Surroundings};
use crate::printer::progress::Progress;
use crate::signals::Signals;
use crate::stream::{self, Ending};
use crate::trace::{Format, Trace};
use crate::{credentials, printer, terminal, user_config};
use api_types::detach_keys::DetachKeys;

/// Signals are passed on unless `--sig-proxy` says otherwise.
const SIG_PROXY: bool = true;

/// Create and run a container from an image
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Run in the background and print the container's id
    #[arg(short, long, conflicts_with = "attach")]
    detach: bool,
    /// Pass signals on to the command
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = SIG_PROXY,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Print each step and its time, from the start of this program to the command's, and to its exit: text or json
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    trace: Option<Format>,
    #[command(flatten)]
    flags: ContainerFlags,
    /// The image, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    image_and_command: Vec<String>,
}

impl Default for Args {
    fn default() -> Args {
        let flags = ContainerFlags::default();
        Args { detach: false, sig_proxy: SIG_PROXY, trace: None, flags, image_and_command: Vec::new() }
    }
}

impl Plain for Args {
    fn flag(&mut self, name: &str) -> Option<Place<'_>> {
        match name {
            "d" | "detach" => Some(Place::Switch(&mut self.detach)),
            _ => self.flags.flag(name),
        }
    }

    fn operands(&mut self) -> Option<Operands<'_>> {
        Some(Operands { list: &mut self.image_and_command, least: 1, trailing: true })
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let mut trace = Trace::new(context.start_ns);
    let request = request(&args, context)?;
    let id_file = args.flags.cidfile.as_deref().map(IdFile::create).transpose()?;
    let keys = user_config::detach_keys(args.flags.detach_keys.as_ref())?;
    trace.step("arguments understood");

    // Before the daemon is asked: a signal to the command may come as soon as it runs.
    let mut signals = Signals::listen(args.sig_proxy && !args.detach)?;
    let pulling = Pulling { when: args.flags.pull, quiet: args.flags.quiet };
    let answer = ask(&context.client, &request, pulling, &mut signals).await?;
    trace.step("the daemon answered");
    if let (Some(file), Some(id)) = (id_file, answer.container()) {
        file.write(id)?;
    }
    let outcome = match answer {
        RunAnswer::Detached(response) => {
            detached(response, &mut trace);
            Ok(0)
        }
        RunAnswer::Attached(session) => {
            session.warnings.iter().for_each(|warning| printer::warning(warning));
            let (tty, stdin) = (args.flags.tty, request.attach.stdin);
            // A traced start is told of once more, with its steps.
            let how = Foreground { tty, stdin, detach_keys: &keys, signals, started: !request.trace };
            stay(&context.client, session, how, &mut trace).await
        }
    };
    if let Some(format) = args.trace {
        printer::error_data(trace.print(format).as_bytes());
    }
    outcome
}

fn request(args: &Args, context: &Context) -> Result<RunRequest, Failure> {
    let attach = if args.detach { Streams::default() } else { args.flags.streams() };
    if args.flags.tty && attach.stdin && !terminal::is_interactive() {
        return Err(no_terminal());
    }
    // A required positional has at least one value.
    let (image, command) = args.image_and_command.split_first().map_or(("", &[][..]), |(i, c)| (i.as_str(), c));
    let size = args.flags.tty.then(terminal::size).flatten();
    Ok(RunRequest {
        name: args.flags.name.clone(),
        platform: args.flags.platform.clone(),
        config: body(&args.flags, image, command, attach, context)?,
        detach: args.detach,
        attach,
        size,
        trace: args.trace.is_some(),
        client_start_ns: context.start_ns,
    })
}

/// That `-it` needs somebody who types.
pub(crate) fn no_terminal() -> Failure {
    Failure::new(Kind::InvalidArgument, "the input device is not a terminal")
        .with_hint("leave out -t, or run the command in a terminal")
}

/// The body that the flags amount to in this process's surroundings.
pub(crate) fn body(
    flags: &ContainerFlags,
    image: &str,
    command: &[String],
    attach: Streams,
    context: &Context,
) -> Result<Wish<ContainerCreateBody>, Failure> {
    let directory = std::env::current_dir()
        .map_err(|error| Failure::new(Kind::NotFound, format!("the working directory cannot be found: {error}")))?;
    let around = Surroundings {
        directory: &directory,
        environment: &|name| std::env::var(name).ok(),
        terminal: terminal::size(),
        variables: user_config::proxies(&context.client.endpoint().address.to_string())?,
    };
    let docker = flags.body(image, command, attach, &around)?;
    let (restart_unhealthy, publish_when_ready) = (flags.restart_unhealthy(), flags.publish_when_ready());
    Ok(Wish { docker, restart_unhealthy, publish_when_ready, checks: flags.checks(), ..Wish::default() })
}

/// When an image is fetched, and whether that is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pulling {
    /// When.
    pub(crate) when: Pull,
    /// Nothing is said of it.
    pub(crate) quiet: bool,
}

/// Ask for the run; an image that is not there is pulled, unless the user does not want it.
async fn ask(
    client: &Client,
    request: &RunRequest,
    pulling: Pulling,
    signals: &mut Signals,
) -> Result<RunAnswer, Failure> {
    let image = request.config.docker.image.as_deref().unwrap_or_default();
    let platform = request.platform.as_deref();
    if pulling.when == Pull::Always {
        fetch_unless_told(client, image, platform, pulling, signals).await?;
    }
    match signals.hold_until(client.run(request)).await? {
        Err(error) if pulling.when == Pull::Missing && is_missing(client, image, &error).await => {
            fetch_unless_told(client, image, platform, pulling, signals).await?;
            Ok(signals.hold_until(client.run(request)).await??)
        }
        other => Ok(other?),
    }
}

/// Whether `error` is that there is no such image, and not that something else was not found.
pub(crate) async fn is_missing(client: &Client, image: &str, error: &ClientError) -> bool {
    let not_found = |error: &ClientError| error.kind() == Kind::NotFound;
    not_found(error) && client.inspect_image_json(image).await.is_err_and(|error| not_found(&error))
}

/// Pull `image`; a signal ends the client, for there is no command yet that could have it.
async fn fetch_unless_told(
    client: &Client,
    image: &str,
    platform: Option<&str>,
    pulling: Pulling,
    signals: &mut Signals,
) -> Result<(), Failure> {
    tokio::select! {
        fetched = fetch(client, image, platform, pulling) => fetched,
        terminated = signals.any() => Err(terminated.into()),
    }
}

/// Pull `image` with its progress on stderr.
pub(crate) async fn fetch(
    client: &Client,
    image: &str,
    platform: Option<&str>,
    pulling: Pulling,
) -> Result<(), Failure> {
    if pulling.when == Pull::Missing && !pulling.quiet {
        printer::note(&format!("Unable to find image '{image}' locally: pulling it"));
    }
    let mut progress = Progress::new(pulling.quiet);
    let auth = credentials::header_for_image(image);
    Ok(client.pull(image, Untagged::Latest, platform, auth.as_deref(), |line| progress.show(&line)).await?)
}

fn detached(response: RunResponse, trace: &mut Trace) {
    response.warnings.iter().for_each(|warning| printer::warning(warning));
    trace.extend(response.steps);
    printer::line(&response.id);
}

/// How to stay with a command.
pub(crate) struct Foreground<'a> {
    /// The command has a terminal.
    pub(crate) tty: bool,
    /// What the user types is for the command.
    pub(crate) stdin: bool,
    /// The keys that leave the session.
    pub(crate) detach_keys: &'a DetachKeys,
    /// The signals to pass on, listened for since before the command could start.
    pub(crate) signals: Signals,
    /// The command runs, and the session does not say so.
    pub(crate) started: bool,
}

/// Stay with a container's first process until it ends or the user leaves; its exit code.
pub(crate) async fn stay(
    client: &Client,
    session: Session,
    how: Foreground<'_>,
    trace: &mut Trace,
) -> Result<u8, Failure> {
    let container = session.container.clone();
    let Foreground { tty, stdin, detach_keys, started, .. } = how;
    let options = stream::Options { tty, stdin, detach_keys, started };
    let pass_on = async |signal: &'static str| {
        if let Some(container) = &container {
            // A command that just ended cannot get a signal any more; its exit is on its way.
            let _ = client.kill_container(container, signal).await;
        }
    };
    match stream::drive(session, options, trace, how.signals, pass_on).await? {
        Ending::Exited(exit) => {
            trace.extend(exit.steps);
            Ok(exit_code(exit.code))
        }
        Ending::Failed(report) => Err(Failure { code: report.kind.run_exit_code(), report: Some(report) }),
        Ending::Detached => {
            // The cursor is where the command's own output left it.
            printer::note("\ndetached; the container goes on");
            Ok(0)
        }
        Ending::Terminated(signal) => Ok(signal.exit_code()),
    }
}

/// An exit code as a process can have it.
pub(crate) fn exit_code(code: i32) -> u8 {
    // Codes are 0 to 255; what is not is no success either.
    u8::try_from(code).unwrap_or(u8::MAX)
}
