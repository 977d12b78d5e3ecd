// SPDX-License-Identifier: Apache-2.0
//! `corten trust ls`: the rules there are.

use api_types::TrustRule;

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::json;
use crate::printer::table::Table;

/// List rules
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let rules = context.client.trust_rules().await?;
    if args.format == "json" {
        printer::line(&json::indent(&serde_json::to_string(&rules).unwrap_or_default()));
    } else {
        printer::data(text(&rules).as_bytes());
    }
    Ok(0)
}

/// A line for each key.
fn text(rules: &[TrustRule]) -> String {
    let mut table = Table::new(["PREFIX", "KEY", "FINGERPRINT"]);
    for rule in rules {
        for key in &rule.keys {
            table.row([rule.prefix.clone(), key.kind.clone(), key.fingerprint.clone()]);
        }
    }
    table.render()
}
