// SPDX-License-Identifier: Apache-2.0
//! `corten volume ls`: the volumes there are.

use api_types::docker::Volume;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer::{self, listing};
use crate::{flags, user_config};

const COLUMNS: &[(&str, &str)] = &[("DRIVER", "Driver"), ("VOLUME NAME", "Name")];

/// List volumes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only volumes like this: dangling=true, driver=local, label=KEY[=VALUE], name=PART
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
    #[arg(long, hide = true)]
    cluster: bool,
    /// How to print: table, json, or a template like '{{.Name}} {{.Mountpoint}}' [default: volumesFormat of config.json,
    /// else table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print only names
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    flags::refuse(&[(args.cluster, "--cluster", "cluster volumes need a swarm")])?;
    let volumes = context.client.list_volumes(&args.filter).await?;
    if args.quiet {
        volumes.iter().for_each(|volume| printer::line(&volume.name));
        return Ok(0);
    }
    let format = user_config::format(args.format, "volumesFormat")?;
    let rows: Vec<Value> = volumes.iter().map(row).collect();
    printer::data(listing::render(&format, COLUMNS, &rows)?.as_bytes());
    Ok(0)
}

fn row(volume: &Volume) -> Value {
    json!({
        "Availability": "N/A",
        "Driver": volume.driver,
        "Group": "N/A",
        "Label": volume.labels,
        "Labels": listing::labels(Some(&volume.labels)),
        "Links": "N/A",
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": volume.scope.map(|scope| scope.to_string()).unwrap_or_default(),
        "Size": "N/A",
        "Status": "N/A",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_as_dockers() {
        let json = r#"{"Name":"data","Driver":"local","Mountpoint":"/m","Labels":{"b":"2","a":"1"},"Scope":"local","Options":null}"#;
        let row = row(&serde_json::from_str(json).unwrap());
        assert_eq!((&row["Labels"], &row["Scope"], &row["Links"]), (&json!("a=1,b=2"), &json!("local"), &json!("N/A")));
        let table = listing::render("table", COLUMNS, &[row]).unwrap();
        assert_eq!(table, "DRIVER    VOLUME NAME\nlocal     data\n");
    }
}
