// SPDX-License-Identifier: Apache-2.0
//! `corten network rm`: remove networks.

use errors::{Classify, Kind};

use crate::cli::Context;
use crate::commands::for_each;
use crate::failure::Failure;

/// Remove one or more networks that no running container is in
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// That there is none is as good
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    for_each(&args.networks, async |name| match context.client.remove_network(name).await {
        Err(error) if !(args.force && error.kind() == Kind::NotFound) => Err(error.into()),
        _ => Ok(name.to_owned()),
    })
    .await
}
