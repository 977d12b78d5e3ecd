// SPDX-License-Identifier: Apache-2.0
//! `corten container`: the commands about containers as a group, as the docker CLI has them beside the short forms.

use crate::cli::Context;
use crate::commands::*;
use crate::failure::Failure;

/// Manage containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

commands! {
    "Commands" {
        Attach(attach::Args) => attach::run,
        Commit(commit::Args) => commit::run,
        Cp(cp::Args) => cp::run,
        Create(create::Args) => create::run,
        Diff(diff::Args) => diff::run,
        Exec(exec::Args) => exec::run,
        Explain(explain::Args) => explain::run,
        Export(export::Args) => export::run,
        Inspect(inspect::ContainerArgs) => inspect::containers,
        Kill(kill::Args) => kill::run,
        Logs(logs::Args) => logs::run,
        #[command(name = "ls", visible_aliases = ["list", "ps"])]
        List(ps::Args) => ps::run,
        Pause(pause::Args) => pause::run,
        Port(port::Args) => port::run,
        Prune(container_prune::Args) => container_prune::run,
        Rename(rename::Args) => rename::run,
        Restart(restart::Args) => restart::run,
        #[command(name = "rm", visible_alias = "remove")]
        Remove(rm::Args) => rm::run,
        Run(run::Args) => run::run,
        Start(start::Args) => start::run,
        Stats(stats::Args) => stats::run,
        Stop(stop::Args) => stop::run,
        Top(top::Args) => top::run,
        Unpause(unpause::Args) => unpause::run,
        Update(update::Args) => update::run,
        Wait(wait::Args) => wait::run,
    }
}

impl Args {
    /// Whether the command's exit code is that of what it runs in a container.
    pub(crate) fn runs_something(&self) -> bool {
        matches!(self.command, Command::Create(_) | Command::Run(_))
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    args.command.dispatch(context).await
}
