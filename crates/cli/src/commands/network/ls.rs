// SPDX-License-Identifier: Apache-2.0
//! `corten network ls`: the networks there are.

use api_types::docker::Network;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer::{self, human, listing};
use crate::{flags, user_config};

const COLUMNS: &[(&str, &str)] = &[("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("SCOPE", "Scope")];

/// List networks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only some: driver=bridge, id=ID, name=NAME, label=KEY[=VALUE], scope=local, type=custom, dangling=true
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
    /// How to print: table, json, or a template like '{{.ID}}: {{.Driver}}' [default: networksFormat of config.json,
    /// else table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let mut networks = context.client.list_networks(&args.filter).await?;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<Value> = networks.iter().map(|network| row(network, args.no_trunc)).collect();
    if args.quiet {
        rows.iter().filter_map(|row| row["ID"].as_str()).for_each(printer::line);
        return Ok(0);
    }
    let format = user_config::format(args.format, "networksFormat")?;
    printer::data(listing::render(&format, COLUMNS, &rows)?.as_bytes());
    Ok(0)
}

fn row(network: &Network, no_trunc: bool) -> Value {
    let id = network.id.as_deref().unwrap_or_default();
    // The docker CLI's fields are texts, all of them.
    let flag = |flag: Option<bool>| flag.unwrap_or(false).to_string();
    json!({
        "CreatedAt": network.created.clone().unwrap_or_default(),
        "Driver": network.driver,
        "ID": if no_trunc { id } else { human::short_id(id) },
        "IPv4": network.enable_ipv4.unwrap_or(true).to_string(),
        "IPv6": flag(network.enable_ipv6),
        "Internal": flag(network.internal),
        "Label": network.labels.clone().unwrap_or_default(),
        "Labels": listing::labels(network.labels.as_ref()),
        "Name": network.name,
        "Scope": network.scope,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_row() {
        let network = Network {
            id: Some("0123456789abcdef".into()),
            name: Some("mine".into()),
            driver: Some("bridge".into()),
            scope: Some("local".into()),
            internal: Some(true),
            labels: Some([("b".into(), "2".into()), ("a".into(), "1".into())].into()),
            ..Network::default()
        };
        let text = listing::render("table", COLUMNS, &[row(&network, false)]).unwrap();
        assert_eq!(text, "NETWORK ID     NAME      DRIVER    SCOPE\n0123456789ab   mine      bridge    local\n");
        let row = row(&network, true);
        assert_eq!(
            (&row["ID"], &row["Internal"], &row["Labels"]),
            (&"0123456789abcdef".into(), &"true".into(), &"a=1,b=2".into())
        );
    }
}
