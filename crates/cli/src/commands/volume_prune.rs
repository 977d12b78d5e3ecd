// SPDX-License-Identifier: Apache-2.0
//! `corten volume prune`: remove volumes that no container has.

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags;
use crate::printer;
use crate::printer::{confirm, human};

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

pub(crate) async fn run(mut args: Args, context: &Context) -> Result<u8, Failure> {
    let which = match args.all {
        true => "all local volumes without a container, and what is in them",
        false => "all local volumes without a container and a name, and what is in them",
    };
    if !args.force && !confirm::is_wanted(which) {
        return Ok(0);
    }
    if args.all {
        args.filter.push(("all".to_owned(), "true".to_owned()));
    }
    let pruned = context.client.prune_volumes(&args.filter).await?;
    let removed = pruned.volumes_deleted.unwrap_or_default();
    if !removed.is_empty() {
        printer::line("Deleted Volumes:");
        removed.iter().for_each(|name| printer::line(name));
        printer::line("");
    }
    let bytes = pruned.space_reclaimed.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    printer::line(&format!("Total reclaimed space: {}", human::size(bytes)));
    Ok(0)
}
