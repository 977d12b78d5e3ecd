// SPDX-License-Identifier: Apache-2.0
//! `corten context update`: change what a context says.

use client::Wish;

use super::{create, store};
use crate::failure::Failure;
use crate::printer;

/// Change a context's description or daemon
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What it is, for those who list contexts
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The daemon: host=ADDRESS[,ca=FILE][,cert=FILE][,key=FILE], or from=CONTEXT
    #[arg(long, value_name = "SETTINGS")]
    docker: Option<String>,
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn run(args: Args, wish: &Wish) -> Result<u8, Failure> {
    let mut context = store().read(&args.name)?;
    if let Some(description) = &args.description {
        context.describe(description);
    }
    let endpoint = args.docker.as_deref().map(|settings| create::parse(settings, wish)).transpose()?;
    if let Some((host, _)) = &endpoint {
        context.lead_to(host);
    }
    store().write(&context, endpoint.as_ref().map(|(_, tls)| tls))?;
    printer::line(&args.name);
    printer::note(&format!("Successfully updated context \"{}\"", args.name));
    Ok(0)
}
