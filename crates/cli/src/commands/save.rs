// SPDX-License-Identifier: Apache-2.0
//! `corten save`: images as an archive.

use std::path::PathBuf;

use crate::archive_file::Output;
use crate::cli::Context;
use crate::failure::Failure;

/// Save images as one tar archive, an OCI image layout that `docker load` reads, too
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write to a file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only if they are for these platforms, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    platform: Vec<String>,
    /// Names (without a tag: all tags), digests or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let mut output = Output::create(args.output.as_deref())?;
    context.client.save_images(&args.images, &args.platform, &mut output).await?;
    output.finish()?;
    Ok(0)
}
