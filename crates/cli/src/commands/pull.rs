// SPDX-License-Identifier: Apache-2.0
//! `corten pull`: fetch an image from its registry.

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer::progress::Progress;
use crate::{credentials, printer};

/// Download an image from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image's platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    /// The image: [HOST[:PORT]/]NAME[:TAG][@DIGEST]
    image: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let mut progress = Progress::new(args.quiet);
    let auth = credentials::header_for_image(&args.image);
    let show = |line| progress.show(&line);
    context.client.pull(&args.image, args.platform.as_deref(), auth.as_deref(), show).await?;
    printer::line(&args.image);
    Ok(0)
}
