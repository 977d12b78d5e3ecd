// SPDX-License-Identifier: Apache-2.0
//! `corten network prune`: remove networks that nobody uses.

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags;
use crate::printer;
use crate::printer::confirm;

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
    if !args.force && !confirm::is_wanted("all networks that no container names") {
        return Ok(0);
    }
    let removed = context.client.prune_networks(&args.filter).await?.networks_deleted.unwrap_or_default();
    if !removed.is_empty() {
        printer::line("Deleted Networks:");
    }
    removed.iter().for_each(|name| printer::line(name));
    Ok(0)
}
