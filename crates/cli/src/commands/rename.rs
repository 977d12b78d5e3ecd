// SPDX-License-Identifier: Apache-2.0
//! `corten rename`: another name for a container.

use crate::cli::Context;
use crate::failure::Failure;

/// Rename a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Its new name
    #[arg(value_name = "NEW_NAME")]
    name: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    context.client.rename_container(&args.container, &args.name).await?;
    Ok(0)
}
