// SPDX-License-Identifier: Apache-2.0
//! `corten top`: the processes of a container.

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::table::align_to;

/// The narrowest column, as the docker CLI has it here.
const NARROWEST: usize = 20;

/// List the processes of a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name or an id
    container: String,
    /// Options of ps that choose columns: -e, -f, aux, -o with a list [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    options: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let listed = context.client.top(&args.container, &args.options.join(" ")).await?;
    let mut rows = vec![listed.titles.unwrap_or_default()];
    rows.extend(listed.processes.unwrap_or_default());
    printer::data(align_to(NARROWEST, &rows).as_bytes());
    Ok(0)
}
