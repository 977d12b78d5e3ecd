// SPDX-License-Identifier: Apache-2.0
//! `corten ps`: the containers there are.

use std::collections::HashMap;

use api_types::docker::{ContainerSummary, PortSummary};
use client::ListOptions;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags;
use crate::printer;
use crate::printer::human;
use crate::printer::table::Table;
use crate::template::Template;

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Only containers like this: status=exited, name=web, label=KEY=VALUE, ancestor=IMAGE, exited=0, publish=80, …
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
    /// How to print: table, json, or a template like '{{.ID}} {{.Names}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Only so many of the newest, whatever their state
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<u32>,
    /// Only the newest, whatever its state
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let options =
        ListOptions { all: args.all, limit: if args.latest { Some(1) } else { args.last }, filters: args.filter };
    let containers = context.client.list_containers(options).await?;
    let now = human::now();
    let rows = containers.iter().map(|container| Row::new(container, args.no_trunc, now));
    if args.quiet {
        rows.for_each(|row| printer::line(&row.id));
        return Ok(0);
    }
    match args.format.as_str() {
        "table" => printer::data(table(rows).as_bytes()),
        "json" => rows.for_each(|row| printer::line(&row.json().to_string())),
        template => {
            let template: Template = template.parse()?;
            for row in rows {
                printer::line(&template.render(&row.json())?);
            }
        }
    }
    Ok(0)
}

/// A container as it is listed.
struct Row {
    id: String,
    image: String,
    command: String,
    created: String,
    created_at: i64,
    status: String,
    ports: String,
    names: String,
    labels: String,
    mounts: String,
    local_volumes: usize,
    networks: String,
    state: String,
}

impl Row {
    fn new(container: &ContainerSummary, no_trunc: bool, now: i64) -> Row {
        let id = container.id.as_deref().unwrap_or_default();
        let command = container.command.as_deref().unwrap_or_default();
        let created = container.created.unwrap_or(now);
        let names = container.names.iter().flatten().map(|name| name.trim_start_matches('/'));
        let command = if no_trunc { command.to_owned() } else { human::ellipsis(command, 20) };
        let mounts = container.mounts.iter().flatten();
        let local_volumes = mounts.clone().filter(|mount| mount.driver.as_deref() == Some("local")).count();
        // A volume by its name, anything else by where the host has it.
        let mounts = mounts.filter_map(|mount| {
            let name = mount.name.as_ref().filter(|name| !name.is_empty()).or(mount.source.as_ref())?;
            Some(if no_trunc { name.clone() } else { human::ellipsis(name, 15) })
        });
        let networks = container.network_settings.iter().flat_map(|settings| settings.networks.iter().flatten());
        Row {
            id: if no_trunc { id.to_owned() } else { human::short_id(id).to_owned() },
            image: container.image.clone().unwrap_or_default(),
            command: format!("\"{command}\""),
            created: human::ago(created, now),
            created_at: created,
            status: container.status.clone().unwrap_or_default(),
            ports: ports(container.ports.as_deref().unwrap_or_default()),
            names: names.collect::<Vec<_>>().join(","),
            labels: labels(container.labels.as_ref()),
            mounts: mounts.collect::<Vec<_>>().join(","),
            local_volumes,
            networks: networks.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(","),
            state: container.state.map(|state| state.to_string()).unwrap_or_default(),
        }
    }

    fn json(&self) -> Value {
        let created = jiff::Timestamp::from_second(self.created_at).map(|time| time.to_string());
        json!({
            "Command": self.command,
            "CreatedAt": created.unwrap_or_default(),
            "ID": self.id,
            "Image": self.image,
            "Labels": self.labels,
            "LocalVolumes": self.local_volumes.to_string(),
            "Mounts": self.mounts,
            "Names": self.names,
            "Networks": self.networks,
            "Ports": self.ports,
            "RunningFor": self.created,
            "State": self.state,
            "Status": self.status,
        })
    }
}

fn table(rows: impl Iterator<Item = Row>) -> String {
    let mut table = Table::new(["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    for row in rows {
        table.row([row.id, row.image, row.command, row.created, row.status, row.ports, row.names]);
    }
    table.render()
}

fn labels(labels: Option<&HashMap<String, String>>) -> String {
    let mut list: Vec<String> = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    list.sort();
    list.join(",")
}

/// `0.0.0.0:8080->80/tcp, 90/tcp`, in the order of the container's ports.
fn ports(ports: &[PortSummary]) -> String {
    let mut sorted: Vec<&PortSummary> = ports.iter().collect();
    sorted.sort_by(|a, b| (a.private_port, &a.ip, a.public_port).cmp(&(b.private_port, &b.ip, b.public_port)));
    let text = |port: &PortSummary| {
        let inside = port.private_port;
        let protocol = port.typ.map_or_else(|| "tcp".to_owned(), |protocol| protocol.to_string());
        let ip = port.ip.as_deref().unwrap_or("0.0.0.0");
        match port.public_port {
            None => format!("{inside}/{protocol}"),
            Some(public) if ip.contains(':') => format!("[{ip}]:{public}->{inside}/{protocol}"),
            Some(public) => format!("{ip}:{public}->{inside}/{protocol}"),
        }
    };
    sorted.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> ContainerSummary {
        serde_json::from_value(json!({
            "Id": "0123456789abcdef", "Names": ["/web"], "Image": "debian", "Command": "sh -c 'sleep 1000000'",
            "Created": 1000, "Status": "Up 5 minutes", "State": "running", "Labels": {"b": "2", "a": "1"},
            "Mounts": [
                {"Type": "volume", "Name": "a-long-volume-name", "Source": "/x", "Driver": "local"},
                {"Type": "bind", "Source": "/srv"},
            ],
            "Ports": [
                {"PrivatePort": 90, "Type": "udp"},
                {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_row_reads_as_dockers() {
        let row = Row::new(&container(), false, 1300);
        assert_eq!(row.id, "0123456789ab");
        assert_eq!(row.command, "\"sh -c 'sleep 100000…\"");
        assert_eq!(row.created, "5 minutes ago");
        assert_eq!(row.ports, "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 90/udp");
        assert_eq!((row.names.as_str(), row.labels.as_str()), ("web", "a=1,b=2"));
        assert_eq!((row.mounts.as_str(), row.local_volumes), ("a-long-volume-…,/srv", 1));
        let lines = table(std::iter::once(row));
        assert!(lines.starts_with("CONTAINER ID   IMAGE     COMMAND"), "{lines}");
    }

    #[test]
    fn nothing_is_shortened_on_demand() {
        let row = Row::new(&container(), true, 1300);
        assert_eq!(row.id, "0123456789abcdef");
        assert_eq!(row.json()["State"], "running");
        assert_eq!(row.json()["Command"], "\"sh -c 'sleep 1000000'\"");
    }
}
