// SPDX-License-Identifier: Apache-2.0
//! `corten rm`: remove containers.

use crate::cli::Context;
use crate::commands::for_all;
use crate::failure::Failure;
use crate::flags::refuse;

/// Remove one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kill and remove running ones, too
    #[arg(short, long)]
    force: bool,
    #[arg(short, long, hide = true)]
    link: bool,
    /// Remove their anonymous volumes, too
    #[arg(short, long)]
    volumes: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    refuse(&[(
        args.link,
        "--link",
        "links of the default bridge are not there; in other networks containers know each other",
    )])?;
    for_all(&args.containers, async |name| {
        context.client.remove_container(name, args.force, args.volumes).await?;
        Ok(name.to_owned())
    })
    .await
}
