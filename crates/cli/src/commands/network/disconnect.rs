// SPDX-License-Identifier: Apache-2.0
//! `corten network disconnect`: one network less for a container.

use crate::cli::Context;
use crate::failure::Failure;

/// Disconnect a container from a network, whether it runs or not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also when the container does not answer for itself
    #[arg(short, long)]
    force: bool,
    /// Name or id
    network: String,
    /// Name or id
    container: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    context.client.disconnect_network(&args.network, &args.container, args.force).await?;
    Ok(0)
}
