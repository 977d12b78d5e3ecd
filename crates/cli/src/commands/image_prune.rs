// SPDX-License-Identifier: Apache-2.0
//! `corten image prune`: remove images that nobody uses.

use crate::cli::Context;
use crate::failure::Failure;
use crate::{flags, pruning};

/// Remove images without a name that no container needs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those with names, too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only some: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let which = if args.all { "all images without a container" } else { "all images without a name and a container" };
    if pruning::may_go(args.force, &[which]) {
        pruning::images(&context.client, args.all, &args.filter).await?.show_with_total();
    }
    Ok(0)
}
