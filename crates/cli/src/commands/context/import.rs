// SPDX-License-Identifier: Apache-2.0
//! `corten context import`: have a context that was written to a file.

use std::path::{Path, PathBuf};

use super::store;
use crate::archive_file;
use crate::failure::Failure;
use crate::printer;

/// Have a context that was exported to a file (a tar archive)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// The file, or - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let from =
        archive_file::open(Some(args.file.as_path()).filter(|path| *path != Path::new("-")), "context import NAME")?;
    store().import(&args.name, from)?;
    printer::line(&args.name);
    printer::note(&format!("Successfully imported context \"{}\"", args.name));
    Ok(0)
}
