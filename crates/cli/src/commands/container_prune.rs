// SPDX-License-Identifier: Apache-2.0
//! `corten container prune`: remove the containers that do not run.

use crate::cli::Context;
use crate::failure::Failure;
use crate::{flags, pruning};

/// Remove the containers that do not run
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only some: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    if pruning::may_go(args.force, &["all containers that do not run"]) {
        pruning::containers(&context.client, &args.filter).await?.show_with_total();
    }
    Ok(0)
}
