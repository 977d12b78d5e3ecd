// SPDX-License-Identifier: Apache-2.0
//! `corten export`: a container's root file system as an archive.

use std::path::PathBuf;

use crate::archive_file::Output;
use crate::cli::Context;
use crate::failure::Failure;

/// Write a container's root file system as a tar archive, without what is mounted in it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write to a file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A name or an id
    container: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let mut output = Output::create(args.output.as_deref())?;
    context.client.export(&args.container, &mut output).await?;
    output.finish()?;
    Ok(0)
}
