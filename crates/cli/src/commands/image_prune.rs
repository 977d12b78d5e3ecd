// SPDX-License-Identifier: Apache-2.0
//! `corten image prune`: remove images that nobody uses.

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags;
use crate::printer;
use crate::printer::{confirm, human};

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

pub(crate) async fn run(mut args: Args, context: &Context) -> Result<u8, Failure> {
    let which = if args.all { "all images without a container" } else { "all images without a name and a container" };
    if !args.force && !confirm::is_wanted(which) {
        return Ok(0);
    }
    args.filter.push(("dangling".to_owned(), (!args.all).to_string()));
    let pruned = context.client.prune_images(&args.filter).await?;
    let removed = pruned.images_deleted.unwrap_or_default();
    if !removed.is_empty() {
        printer::line("Deleted Images:");
    }
    for item in removed {
        item.untagged.iter().for_each(|name| printer::line(&format!("untagged: {name}")));
        item.deleted.iter().for_each(|digest| printer::line(&format!("deleted: {digest}")));
    }
    let bytes = pruned.space_reclaimed.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    printer::line(&format!("Total reclaimed space: {}", human::size(bytes)));
    Ok(0)
}
