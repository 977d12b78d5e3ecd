// SPDX-License-Identifier: Apache-2.0
//! `corten registry`: a registry of one's own. No daemon is needed for it.

mod access;
mod serve;

use clap::Subcommand;

use crate::failure::Failure;

/// Serve images to others
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
}

pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Serve(args) => serve::run(args),
    }
}
