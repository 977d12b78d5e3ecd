// SPDX-License-Identifier: Apache-2.0
//! `corten context use`: mean another daemon from now on.

use client::Wish;
use client::contexts::DEFAULT_CONTEXT;

use super::{in_use, store};
use crate::failure::Failure;
use crate::printer;

/// Mean a context's daemon from now on, in docker's commands as well
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name; `default` for this host's own daemon
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn run(args: &Args, wish: &Wish) -> Result<u8, Failure> {
    store().set_current(Some(args.name.as_str()).filter(|name| *name != DEFAULT_CONTEXT))?;
    printer::line(&args.name);
    printer::note(&format!("Current context is now \"{}\"", args.name));
    if in_use(wish)? != args.name {
        let variables = if wish.as_docker { "DOCKER_HOST or DOCKER_CONTEXT" } else { "CORTEN_HOST or CORTEN_CONTEXT" };
        printer::warning(&format!("{variables} is set, and counts more than the context"));
    }
    Ok(0)
}
