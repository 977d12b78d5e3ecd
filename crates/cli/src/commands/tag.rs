// SPDX-License-Identifier: Apache-2.0
//! `corten tag`: a further name for an image.

use crate::cli::Context;
use crate::failure::Failure;

/// Give an image a further name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: NAME[:TAG], a digest or an id
    #[arg(value_name = "SOURCE_IMAGE")]
    image: String,
    /// The further name: [HOST[:PORT]/]NAME[:TAG]
    #[arg(value_name = "TARGET_IMAGE")]
    name: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    context.client.tag_image(&args.image, &args.name).await?;
    Ok(0)
}
