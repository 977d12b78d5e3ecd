// SPDX-License-Identifier: Apache-2.0
//! `corten context export`: write a context to a file, to take it elsewhere.

use std::path::{Path, PathBuf};

use super::store;
use crate::archive_file::Output;
use crate::failure::Failure;
use crate::printer;

/// Write a context and its certificates, its private key among them, to a file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// The file, or - for stdout [default: NAME.dockercontext]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let store = store();
    // Before a file is made.
    store.read(&args.name)?;
    let path = args.file.clone().unwrap_or_else(|| format!("{}.dockercontext", args.name).into());
    let to = Some(path.as_path()).filter(|path| *path != Path::new("-"));
    let mut output = Output::create_private(to)?;
    store.export(&args.name, &mut output)?;
    output.finish()?;
    if let Some(path) = to {
        printer::note(&format!("Written file \"{}\"", path.display()));
    }
    Ok(0)
}
