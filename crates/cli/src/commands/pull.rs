// SPDX-License-Identifier: Apache-2.0
//! `corten pull`: fetch an image from its registry.

use client::Untagged;
use errors::Kind;
use oci::ImageRef;

use super::push;
use crate::cli::Context;
use crate::failure::Failure;
use crate::flags::{NO_NOTARY, refuse};
use crate::printer::progress::Progress;
use crate::{credentials, printer};

/// Download an image from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All tags that the repository has in its registry
    #[arg(short, long)]
    all_tags: bool,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
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
    refuse(&[(args.disable_content_trust == Some(false), "--disable-content-trust=false", NO_NOTARY)])?;
    let untagged = if args.all_tags { Untagged::All } else { Untagged::Latest };
    if args.all_tags {
        let name = args.image.parse::<ImageRef>();
        let name = name.map_err(|error| Failure::new(Kind::InvalidArgument, error.to_string()))?;
        push::no_tag(&name)?;
    }
    let mut progress = Progress::new(args.quiet);
    let auth = credentials::header_for_image(&args.image);
    let show = |line| progress.show(&line);
    context.client.pull(&args.image, untagged, args.platform.as_deref(), auth.as_deref(), show).await?;
    printer::line(&args.image);
    Ok(0)
}
