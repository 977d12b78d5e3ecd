// SPDX-License-Identifier: Apache-2.0
//! `corten image`: the commands about images as a group, as the docker CLI has them beside the short forms.

use crate::cli::Context;
use crate::commands::*;
use crate::failure::Failure;

/// Manage images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

commands! {
    "Commands" {
        History(history::Args) => history::run,
        Import(import::Args) => import::run,
        Inspect(inspect::ImageArgs) => inspect::images,
        Load(load::Args) => load::run,
        #[command(name = "ls", visible_alias = "list")]
        List(images::Args) => images::run,
        Prune(image_prune::Args) => image_prune::run,
        Pull(pull::Args) => pull::run,
        Push(push::Args) => push::run,
        #[command(name = "rm", visible_alias = "remove")]
        Remove(rmi::Args) => rmi::run,
        Save(save::Args) => save::run,
        Sign(image_sign::Args) => image_sign::run,
        Tag(tag::Args) => tag::run,
        Verify(image_verify::Args) => image_verify::run,
        Waste(image_waste::Args) => image_waste::run,
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    args.command.dispatch(context).await
}
