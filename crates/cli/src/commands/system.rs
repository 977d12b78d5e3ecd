// SPDX-License-Identifier: Apache-2.0
//! `corten system`: what the daemon holds, and whether it is whole.

use clap::Subcommand;

use crate::cli::Context;
use crate::commands;
use crate::failure::Failure;

/// Look after the daemon's store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(commands::system_check::Args),
    Df(commands::system_df::Args),
    Events(commands::events::Args),
    Info(commands::info::Args),
    Leases(commands::system_leases::Args),
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    match args.command {
        Command::Check(args) => commands::system_check::run(args, context).await,
        Command::Df(args) => commands::system_df::run(args, context).await,
        Command::Events(args) => commands::events::run(args, context).await,
        Command::Info(args) => commands::info::run(args, context).await,
        Command::Leases(args) => commands::system_leases::run(args, context).await,
    }
}
