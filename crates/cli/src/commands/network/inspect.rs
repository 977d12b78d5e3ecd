// SPDX-License-Identifier: Apache-2.0
//! `corten network inspect`: all about networks.

use errors::Kind;

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::json;
use crate::template::Template;

/// Print all about networks, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: json, or a template like '{{.Driver}}' or '{{json .Containers}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
    /// More, where there is more
    #[arg(short, long)]
    verbose: bool,
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let template = match args.format.as_str() {
        "json" => None,
        template => Some(template.parse::<Template>()?),
    };
    let (mut found, mut failed) = (Vec::new(), false);
    for name in &args.networks {
        match context.client.inspect_network_json(name, args.verbose).await {
            Ok(text) => found.push(String::from_utf8_lossy(&text).into_owned()),
            Err(error) => {
                failed = true;
                Failure::from(error).report.iter().for_each(printer::failure);
            }
        }
    }
    match template {
        None => printer::line(&json::indent(&format!("[{}]", found.join(",")))),
        Some(template) => {
            for text in &found {
                let value = serde_json::from_str(text).map_err(|error| {
                    Failure::new(Kind::Internal, format!("the daemon's answer is not JSON: {error}"))
                })?;
                printer::line(&template.render(&value)?);
            }
        }
    }
    if failed { Err(Failure::told()) } else { Ok(0) }
}
