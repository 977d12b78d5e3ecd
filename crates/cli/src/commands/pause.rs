// SPDX-License-Identifier: Apache-2.0
//! `corten pause`: have containers' processes stand still.

use crate::cli::Context;
use crate::commands::for_all;
use crate::failure::Failure;

/// Pause all processes of one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    for_all(&args.containers, async |name| {
        context.client.pause_container(name).await?;
        Ok(name.to_owned())
    })
    .await
}
