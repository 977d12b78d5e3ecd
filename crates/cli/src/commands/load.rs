// SPDX-License-Identifier: Apache-2.0
//! `corten load`: images out of an archive.

use std::path::PathBuf;

use crate::archive_file;
use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;

/// Load images from a tar archive: of docker save, or an OCI image layout; plain, gzip or zstd
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read from a file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Of an image for several platforms, those for these, as in linux/arm64,linux/amd64
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    platform: Vec<String>,
    /// Say nothing but which images were loaded
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let archive = archive_file::open(args.input.as_deref(), "-i")?;
    let quiet = args.quiet;
    let progress = |line: api_types::ProgressLine| match (line.stream, line.status) {
        (Some(text), _) => printer::data(text.as_bytes()),
        (None, Some(status)) if !quiet => printer::note(&status),
        _ => {}
    };
    context.client.load_images(archive, &args.platform, progress).await?;
    Ok(0)
}
