// SPDX-License-Identifier: Apache-2.0
//! `corten logout`: have a login forgotten.

use crate::cli::Context;
use crate::failure::Failure;
use crate::{credentials, printer};

/// Log out from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry: HOST[:PORT] [default: docker.io]
    server: Option<String>,
}

pub(crate) async fn run(args: Args, _: &Context) -> Result<u8, Failure> {
    let registry = credentials::registry(args.server.as_deref())?;
    let stores = credentials::stores();
    let erased = stores.erase(&registry)?;
    if erased.is_empty() {
        printer::line(&format!("Not logged in to {registry}"));
    }
    for keeper in erased {
        printer::line(&format!("Removed the login to {registry} from {keeper}"));
    }
    if stores.find(&registry)?.is_some() {
        printer::warning(&format!("Docker's configuration still has a login to {registry}: docker logout {registry}"));
    }
    Ok(0)
}
