// SPDX-License-Identifier: Apache-2.0
//! `corten exec`: run a further command in a running container.

use std::path::PathBuf;

use api_types::ExecRequest;
use api_types::docker::ExecConfig;

use crate::cli::Context;
use crate::cli::plain::{Operands, Place, Plain};
use crate::commands::run::{exit_code, no_terminal};
use crate::failure::Failure;
use crate::flags::environment;
use crate::signals::Signals;
use crate::stream::{self, Ending};
use crate::trace::Trace;
use crate::{terminal, user_config};
use api_types::detach_keys::DetachKeys;

/// Run a command in a running container
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Leave the command alone once it runs
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from the command [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Set an environment variable; KEY alone passes on the caller's
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Attach stdin
    #[arg(short, long)]
    interactive: bool,
    /// With all capabilities
    #[arg(long)]
    privileged: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// User (and group) of the command: NAME or UID[:GROUP or GID]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory of the command
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// The container, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, num_args = 2.., value_names = ["CONTAINER", "COMMAND"])]
    container_and_command: Vec<String>,
}

impl Plain for Args {
    fn flag(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "d" | "detach" => Place::Switch(&mut self.detach),
            "e" | "env" => Place::Value(&mut self.env),
            "i" | "interactive" => Place::Switch(&mut self.interactive),
            "t" | "tty" => Place::Switch(&mut self.tty),
            "u" | "user" => Place::Value(&mut self.user),
            "w" | "workdir" => Place::Value(&mut self.workdir),
            _ => return None,
        })
    }

    fn operands(&mut self) -> Option<Operands<'_>> {
        Some(Operands { list: &mut self.container_and_command, least: 2, trailing: true })
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    execute(args, context).await.map_err(Failure::of_exec)
}

async fn execute(args: Args, context: &Context) -> Result<u8, Failure> {
    let stdin = args.interactive && !args.detach;
    if args.tty && stdin && !terminal::is_interactive() {
        return Err(no_terminal());
    }
    let keys = user_config::detach_keys(args.detach_keys.as_ref())?;
    // A required positional has at least one value.
    let (container, command) = args.container_and_command.split_first().map_or(("", &[][..]), |(n, c)| (n.as_str(), c));
    let env = environment::collect(&args.env_file, &args.env, &|name| std::env::var(name).ok())?;
    let size = args.tty.then(terminal::size).flatten();
    let request = ExecRequest {
        config: ExecConfig {
            attach_stdin: Some(stdin),
            attach_stdout: Some(!args.detach),
            attach_stderr: Some(!args.detach),
            tty: Some(args.tty),
            privileged: Some(args.privileged),
            console_size: size.map(|size| vec![size.rows.into(), size.cols.into()]),
            env: (!env.is_empty()).then_some(env),
            cmd: Some(command.to_vec()),
            user: args.user,
            working_dir: args.workdir,
            ..ExecConfig::default()
        },
        detach: args.detach,
        size,
    };
    if args.detach {
        context.client.exec_detached(container, &request).await?;
        return Ok(0);
    }
    let session = context.client.exec(container, &request).await?;
    let options = stream::Options { tty: args.tty, stdin, detach_keys: &keys, started: false };
    // Signals end the client, as they end docker's: there is no way to send one to an exec.
    let signals = Signals::listen(false)?;
    match stream::drive(session, options, &mut Trace::new(context.start_ns), signals, async |_| {}).await? {
        Ending::Exited(exit) => Ok(exit_code(exit.code)),
        Ending::Failed(report) => Err(Failure { code: 1, report: Some(report) }),
        Ending::Detached => Ok(0),
        Ending::Terminated(signal) => Ok(signal.exit_code()),
    }
}
