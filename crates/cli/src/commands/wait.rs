// SPDX-License-Identifier: Apache-2.0
//! `corten wait`: wait until containers end, and print their exit codes.

use client::WaitCondition;

use crate::cli::Context;
use crate::commands::for_each;
use crate::failure::Failure;

/// Block until one or more containers stop, then print their exit codes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    for_each(&args.containers, async |name| {
        let ended = context.client.wait_container(name, WaitCondition::NotRunning).await?;
        Ok(ended.status_code.to_string())
    })
    .await
}
