// SPDX-License-Identifier: Apache-2.0
//! `corten system`: what the daemon holds, and whether it is whole.

use crate::cli::Context;
use crate::commands::*;
use crate::failure::Failure;

/// Look after the daemon and its store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

commands! {
    "Commands" {
        Check(system_check::Args) => system_check::run,
        Df(system_df::Args) => system_df::run,
        #[command(name = "dial-stdio")]
        DialStdio(system_dial_stdio::Args) => system_dial_stdio::run,
        Events(events::Args) => events::run,
        Info(info::Args) => info::run,
        Leases(system_leases::Args) => system_leases::run,
        Prune(system_prune::Args) => system_prune::run,
        Service(system_service::Args) => system_service::run,
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    args.command.dispatch(context).await
}
