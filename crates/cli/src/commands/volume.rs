// SPDX-License-Identifier: Apache-2.0
//! `corten volume`: directories that outlive containers.

use crate::cli::Context;
use crate::commands::*;
use crate::failure::Failure;

/// Manage volumes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

commands! {
    "Commands" {
        Create(volume_create::Args) => volume_create::run,
        Inspect(inspect::VolumeArgs) => inspect::volumes,
        #[command(name = "ls", visible_alias = "list")]
        List(volume_ls::Args) => volume_ls::run,
        Prune(volume_prune::Args) => volume_prune::run,
        #[command(name = "rm", visible_alias = "remove")]
        Remove(volume_rm::Args) => volume_rm::run,
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    args.command.dispatch(context).await
}
