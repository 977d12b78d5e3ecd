// SPDX-License-Identifier: Apache-2.0
//! `corten network prune`: remove networks that nobody uses.

use crate::cli::Context;
use crate::failure::Failure;
use crate::{flags, pruning};

/// Remove the networks that no container names
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
    if pruning::may_go(args.force, &["all networks that no container names"]) {
        pruning::networks(&context.client, &args.filter).await?.show();
    }
    Ok(0)
}
