// SPDX-License-Identifier: Apache-2.0
//! `corten daemon`: own all state and serve the API.

use crate::failure::Failure;

/// Run the daemon
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _host: Option<String>) -> Result<u8, Failure> {
    Err(Failure::told())
}
