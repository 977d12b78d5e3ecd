// SPDX-License-Identifier: Apache-2.0
//! `corten context ls`: the contexts there are.

use client::Wish;
use client::contexts::{DEFAULT_CONTEXT, StoredContext};
use errors::Report;
use serde_json::{Value, json};

use super::{default_endpoint, in_use, store};
use crate::failure::Failure;
use crate::printer;
use crate::printer::listing;

const COLUMNS: &[(&str, &str)] =
    &[("NAME", "Shown"), ("DESCRIPTION", "Description"), ("DOCKER ENDPOINT", "DockerEndpoint"), ("ERROR", "Error")];

/// List contexts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: table, json, or a template like '{{.Name}} {{.DockerEndpoint}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Print only names
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args, wish: &Wish) -> Result<u8, Failure> {
    let (contexts, unreadable) = store().list()?;
    show(args, wish, &contexts)?;
    for error in &unreadable {
        printer::failure(&Report::from(error));
    }
    if unreadable.is_empty() { Ok(0) } else { Err(Failure::told()) }
}

fn show(args: &Args, wish: &Wish, contexts: &[StoredContext]) -> Result<(), Failure> {
    if args.quiet {
        std::iter::once(DEFAULT_CONTEXT)
            .chain(contexts.iter().map(|context| context.name.as_str()))
            .for_each(printer::line);
        return Ok(());
    }
    let current = in_use(wish)?;
    let default = default_endpoint(wish).map(|(host, _)| host).map_err(|failure| failure.report);
    let mut rows = vec![row(
        DEFAULT_CONTEXT,
        &current,
        "This host's own daemon, or the one that the environment names",
        default.as_deref().map_err(|report| report.as_ref().map(|report| report.message.clone()).unwrap_or_default()),
    )];
    for context in contexts {
        let host = context.host().map_err(|error| Report::from(&error).message);
        rows.push(row(&context.name, &current, context.description(), host));
    }
    if args.format == "json" {
        // Without what is there for the table alone.
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            row.remove("Shown");
        }
    }
    printer::data(listing::render(&args.format, COLUMNS, &rows)?.as_bytes());
    Ok(())
}

fn row(name: &str, current: &str, description: &str, host: Result<&str, String>) -> Value {
    let is_current = name == current;
    json!({
        "Current": is_current,
        "Description": description,
        "DockerEndpoint": host.as_deref().unwrap_or_default(),
        "Error": host.as_ref().err().map(String::as_str).unwrap_or_default(),
        "Name": name,
        "Shown": if is_current { format!("{name} *") } else { name.to_owned() },
    })
}
