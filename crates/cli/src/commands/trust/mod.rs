// SPDX-License-Identifier: Apache-2.0
//! `corten trust`: who must have signed the images that are pulled and run here.

mod add;
mod key;
mod ls;
mod rm;

use clap::Subcommand;

use crate::cli::Context;
use crate::failure::Failure;

/// Say by whose key images must be signed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(add::Args),
    Key(key::Args),
    #[command(name = "ls", visible_alias = "list")]
    List(ls::Args),
    #[command(name = "rm", visible_alias = "remove")]
    Remove(rm::Args),
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    match args.command {
        Command::Add(args) => add::run(args, context).await,
        Command::Key(args) => key::run(args),
        Command::List(args) => ls::run(args, context).await,
        Command::Remove(args) => rm::run(args, context).await,
    }
}
