// SPDX-License-Identifier: Apache-2.0
//! `corten context show`: the name of the context in use.

use client::Wish;

use super::in_use;
use crate::failure::Failure;
use crate::printer;

/// Print the name of the context in use
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(_: &Args, wish: &Wish) -> Result<u8, Failure> {
    printer::line(&in_use(wish)?);
    Ok(0)
}
