// SPDX-License-Identifier: Apache-2.0
//! `corten system prune`: remove what is unused, of every kind.

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags::FlagError;
use crate::{flags, pruning};

/// Remove containers that do not run, networks that no container names, and images without a name and a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images with names, too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Volumes without a container and a name, too
    #[arg(long)]
    volumes: bool,
    /// Only some: until=TIME (not with --volumes), label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    // Before anything is removed: volumes are the third kind to be asked about.
    if args.volumes && args.filter.iter().any(|(name, _)| name == "until") {
        let reason = "volumes are not chosen by their age; prune them by themselves";
        return Err(FlagError::Refused { flag: "--filter until=… with --volumes", reason }.into());
    }
    let narrowed = args.filter.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ");
    let narrowed = format!("and of all these only what fits {narrowed}");
    let mut which = vec!["all containers that do not run", "all networks that no container names"];
    which.extend(args.volumes.then_some("all local volumes without a container and a name, and what is in them"));
    which.push(match args.all {
        true => "all images without a container",
        false => "all images without a name and a container",
    });
    which.extend((!args.filter.is_empty()).then_some(narrowed.as_str()));
    if !pruning::may_go(args.force, &which) {
        return Ok(0);
    }
    // The containers first: what they alone have used is unused then. Each kind is told of at once, whatever the next says.
    let client = &context.client;
    let mut reclaimed = 0;
    let mut show = |gone: pruning::Gone| {
        gone.show();
        reclaimed += gone.reclaimed;
    };
    show(pruning::containers(client, &args.filter).await?);
    show(pruning::networks(client, &args.filter).await?);
    if args.volumes {
        show(pruning::volumes(client, false, &args.filter).await?);
    }
    show(pruning::images(client, args.all, &args.filter).await?);
    pruning::total(reclaimed);
    Ok(0)
}
