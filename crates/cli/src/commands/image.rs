// SPDX-License-Identifier: Apache-2.0
//! `corten image`: the commands about images as a group, as the docker CLI has them beside the short forms.

use clap::Subcommand;

use crate::cli::Context;
use crate::commands;
use crate::failure::Failure;

/// Manage images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    History(commands::history::Args),
    Import(commands::import::Args),
    Inspect(commands::inspect::ImageArgs),
    Load(commands::load::Args),
    #[command(name = "ls", visible_alias = "list")]
    List(commands::images::Args),
    Prune(commands::image_prune::Args),
    Pull(commands::pull::Args),
    Push(commands::push::Args),
    #[command(name = "rm", visible_alias = "remove")]
    Remove(commands::rmi::Args),
    Save(commands::save::Args),
    Sign(commands::image_sign::Args),
    Tag(commands::tag::Args),
    Verify(commands::image_verify::Args),
    Waste(commands::image_waste::Args),
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    match args.command {
        Command::History(args) => commands::history::run(args, context).await,
        Command::Import(args) => commands::import::run(args, context).await,
        Command::Inspect(args) => commands::inspect::images(args, context).await,
        Command::Load(args) => commands::load::run(args, context).await,
        Command::List(args) => commands::images::run(args, context).await,
        Command::Prune(args) => commands::image_prune::run(args, context).await,
        Command::Pull(args) => commands::pull::run(args, context).await,
        Command::Push(args) => commands::push::run(args, context).await,
        Command::Remove(args) => commands::rmi::run(args, context).await,
        Command::Save(args) => commands::save::run(args, context).await,
        Command::Sign(args) => commands::image_sign::run(args, context).await,
        Command::Tag(args) => commands::tag::run(args, context).await,
        Command::Verify(args) => commands::image_verify::run(args, context).await,
        Command::Waste(args) => commands::image_waste::run(args, context).await,
    }
}
