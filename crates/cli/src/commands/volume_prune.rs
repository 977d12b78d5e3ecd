// SPDX-License-Identifier: Apache-2.0
//! `corten volume prune`: remove volumes that no container has.

use crate::cli::Context;
use crate::failure::Failure;
use crate::{flags, pruning};

/// Remove volumes without a name of their own that no container has
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those with names, too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only some: label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let which = match args.all {
        true => "all local volumes without a container, and what is in them",
        false => "all local volumes without a container and a name, and what is in them",
    };
    if pruning::may_go(args.force, &[which]) {
        pruning::volumes(&context.client, args.all, &args.filter).await?.show_with_total();
    }
    Ok(0)
}
