// SPDX-License-Identifier: Apache-2.0
//! `corten restart`: stop containers and start them again.

use crate::cli::Context;
use crate::commands::for_all;
use crate::failure::Failure;

/// Restart one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The signal to ask with
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds until the container is killed; -1 for never
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", allow_hyphen_values = true)]
    timeout: Option<i64>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    for_all(&args.containers, async |name| {
        context.client.restart_container(name, args.timeout, args.signal.as_deref()).await?;
        Ok(name.to_owned())
    })
    .await
}
