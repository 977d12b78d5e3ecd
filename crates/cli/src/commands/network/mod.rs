// SPDX-License-Identifier: Apache-2.0
//! `corten network`: networks that containers reach each other by.

mod connect;
mod create;
mod disconnect;
mod inspect;
mod ls;
mod prune;
mod rm;

use crate::cli::Context;
use crate::failure::Failure;

/// Manage networks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

commands! {
    "Commands" {
        Connect(connect::Args) => connect::run,
        Create(create::Args) => create::run,
        Disconnect(disconnect::Args) => disconnect::run,
        Inspect(inspect::Args) => inspect::run,
        #[command(name = "ls", visible_alias = "list")]
        List(ls::Args) => ls::run,
        Prune(prune::Args) => prune::run,
        #[command(name = "rm", visible_alias = "remove")]
        Remove(rm::Args) => rm::run,
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    args.command.dispatch(context).await
}
