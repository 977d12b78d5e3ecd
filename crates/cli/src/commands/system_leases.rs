// SPDX-License-Identifier: Apache-2.0
//! `corten system leases`: what clients of the API keep here, and until when.

use api_types::Lease;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::{human, listing};

const COLUMNS: &[(&str, &str)] =
    &[("LEASE", "ID"), ("CREATED", "CreatedSince"), ("EXPIRES", "ExpiresAt"), ("PROTECTS", "Resources")];

/// List the leases by which programs protect images and blobs from removal
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: table, json, or a template like '{{.ID}} {{.ExpiresAt}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Do not shorten digests
    #[arg(long)]
    no_trunc: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let leases = context.client.leases().await?;
    let now = human::now();
    let rows: Vec<Value> = leases.iter().map(|lease| row(lease, args.no_trunc, now)).collect();
    printer::data(listing::render(&args.format, COLUMNS, &rows)?.as_bytes());
    Ok(0)
}

fn row(lease: &Lease, no_trunc: bool, now: i64) -> Value {
    let created = lease.created.parse::<Timestamp>().map_or(now, Timestamp::as_second);
    let digests = lease.images.iter().chain(&lease.content);
    let digests = digests.map(|digest| if no_trunc { digest } else { human::short_id(digest) });
    json!({
        "ID": lease.id,
        "CreatedAt": lease.created,
        "CreatedSince": human::ago(created, now),
        "ExpiresAt": lease.expires,
        "Labels": lease.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
        "Resources": digests.collect::<Vec<_>>().join(","),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_protected_is_shortened_unless_it_shall_not_be() {
        let lease = Lease {
            id: "l".into(),
            created: "2026-01-01T00:00:00Z".into(),
            expires: "2026-01-02T00:00:00Z".into(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            images: vec![format!("sha256:{}", "1".repeat(64))],
            content: vec![format!("sha256:{}", "2".repeat(64))],
        };
        let now = "2026-01-01T02:00:00Z".parse::<Timestamp>().unwrap().as_second();
        let short = row(&lease, false, now);
        assert_eq!(short["Resources"], "111111111111,222222222222");
        assert_eq!((&short["CreatedSince"], &short["Labels"]), (&json!("2 hours ago"), &json!("a=b")));
        assert!(row(&lease, true, now)["Resources"].as_str().unwrap().starts_with("sha256:1111"));
    }
}
