// SPDX-License-Identifier: Apache-2.0
//! `corten kill`: send a signal to containers.

use crate::cli::Context;
use crate::commands::for_all;
use crate::failure::Failure;

/// Kill one or more running containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    for_all(&args.containers, async |name| {
        context.client.kill_container(name, &args.signal).await?;
        Ok(name.to_owned())
    })
    .await
}
