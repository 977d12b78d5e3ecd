// SPDX-License-Identifier: Apache-2.0
//! `corten volume rm`.

use crate::cli::Context;
use crate::commands::for_each;
use crate::failure::Failure;

/// Remove one or more volumes with all that is in them; none that a container has, running or not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    for_each(&args.volumes, async |name| {
        context.client.remove_volume(name, args.force).await?;
        Ok(name.to_owned())
    })
    .await
}
