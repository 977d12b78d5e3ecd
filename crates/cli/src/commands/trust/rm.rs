// SPDX-License-Identifier: Apache-2.0
//! `corten trust rm`: images under a prefix need no signature any more.

use trust::Prefix;

use crate::cli::Context;
use crate::commands::for_each;
use crate::failure::Failure;

/// Forget rules
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The prefixes, as `corten trust ls` shows them
    #[arg(required = true)]
    prefix: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    for_each(&args.prefix, async |prefix| {
        // As at `add`, with the words about how a prefix is written.
        let rule: Prefix = prefix.parse()?;
        context.client.remove_trust_rule(&rule.to_string()).await?;
        Ok(prefix.to_owned())
    })
    .await
}
