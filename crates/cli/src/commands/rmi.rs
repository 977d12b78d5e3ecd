// SPDX-License-Identifier: Apache-2.0
//! `corten rmi`: remove images.

use crate::cli::Context;
use crate::failure::Failure;
use crate::{platform, printer};

/// Remove one or more images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove it although a stopped container was made of it
    #[arg(short, long)]
    force: bool,
    /// Keep what the image was made of; accepted for Docker's sake: an image's layers go with their last image
    #[arg(long)]
    no_prune: bool,
    /// Only if it is for this platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Names, digests or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let mut failed = false;
    for name in &args.images {
        if let Err(failure) = platform::check(&context.client, name, args.platform.as_deref()).await {
            failed = true;
            failure.report.iter().for_each(printer::failure);
            continue;
        }
        match context.client.remove_image(name, args.force, args.no_prune).await {
            Ok(removed) => {
                for item in removed {
                    item.untagged.iter().for_each(|name| printer::line(&format!("Untagged: {name}")));
                    item.deleted.iter().for_each(|digest| printer::line(&format!("Deleted: {digest}")));
                }
            }
            Err(error) => {
                failed = true;
                printer::failure(&errors::Report::from(&error));
            }
        }
    }
    if failed { Err(Failure::told()) } else { Ok(0) }
}
