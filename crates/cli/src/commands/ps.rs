// SPDX-License-Identifier: Apache-2.0
//! `corten ps`: the containers there are.

use api_types::docker::{ContainerSummary, PortSummary};
use client::ListOptions;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::plain::{Place, Plain};
use crate::failure::Failure;
use crate::printer::{self, human, listing};
use crate::template::Template;
use crate::{flags, user_config};

const COLUMNS: &[(&str, &str)] = &[
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
];
/// What `--size` adds.
const SIZE: (&str, &str) = ("SIZE", "Size");

/// List containers
#[derive(Debug, Default, clap::Args)]
#[command(after_help = FIELDS)]
pub(crate) struct Args {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Only containers like this: status=exited, name=web, label=KEY=VALUE, ancestor=IMAGE, exited=0, publish=80, …
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
    /// How to print: table, json, or a template like '{{.ID}} {{.Names}}' [default: psFormat of config.json, else table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only so many of the newest, whatever their state; -1 for all
    #[arg(short = 'n', long, value_name = "NUMBER", allow_hyphen_values = true)]
    last: Option<i64>,
    /// Only the newest, whatever its state
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show how large they are: what each has changed, and with its image
    #[arg(short, long)]
    size: bool,
}

const FIELDS: &str = "Fields of a template: .ID .Image .Command .CreatedAt .RunningFor .Ports .State .Status .Size .Names .Labels \
.Label \"NAME\" .Mounts .LocalVolumes .Networks";

impl Plain for Args {
    fn flag(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "a" | "all" => Place::Switch(&mut self.all),
            "format" => Place::Value(&mut self.format),
            "l" | "latest" => Place::Switch(&mut self.latest),
            "no-trunc" => Place::Switch(&mut self.no_trunc),
            "q" | "quiet" => Place::Switch(&mut self.quiet),
            "s" | "size" => Place::Switch(&mut self.size),
            _ => return None,
        })
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let format = if args.quiet { "{{.ID}}".to_owned() } else { user_config::format(args.format, "psFormat")? };
    // Sizes cost a look at every changed file: only who asks for them waits.
    let size = args.size || listing::template(&format)?.is_some_and(|template: Template| template.names(SIZE.1));
    let last = args.last.and_then(|last| u32::try_from(last).ok());
    let limit = if args.latest { Some(1) } else { last };
    let options = ListOptions { all: args.all, size, limit, filters: args.filter };
    let containers = context.client.list_containers(options).await?;
    let now = human::now();
    let rows: Vec<Value> = containers.iter().map(|container| row(container, args.no_trunc, now)).collect();
    let mut columns = COLUMNS.to_vec();
    if args.size {
        columns.push(SIZE);
    }
    printer::data(listing::render(&format, &columns, &rows)?.as_bytes());
    Ok(0)
}

/// A container as it is listed.
fn row(container: &ContainerSummary, no_trunc: bool, now: i64) -> Value {
    let id = container.id.as_deref().unwrap_or_default();
    let command = container.command.as_deref().unwrap_or_default();
    let created = container.created.unwrap_or(now);
    let names = container.names.iter().flatten().map(|name| name.trim_start_matches('/'));
    let command = if no_trunc { command.to_owned() } else { human::ellipsis(command, 20) };
    // Whatever it has in it, it is one word of the table.
    let command = human::quoted(&command);
    let mounts = container.mounts.iter().flatten();
    let local_volumes = mounts.clone().filter(|mount| mount.driver.as_deref() == Some("local")).count();
    // A volume by its name, anything else by where the host has it.
    let mounts = mounts.filter_map(|mount| {
        let name = mount.name.as_ref().filter(|name| !name.is_empty()).or(mount.source.as_ref())?;
        Some(if no_trunc { name.clone() } else { human::ellipsis(name, 15) })
    });
    let networks = container.network_settings.iter().flat_map(|settings| settings.networks.iter().flatten());
    let mut networks: Vec<&str> = networks.map(|(name, _)| name.as_str()).collect();
    networks.sort_unstable();
    json!({
        "Command": command,
        "CreatedAt": human::moment(created),
        "ID": if no_trunc { id } else { human::short_id(id) },
        "Image": container.image,
        "Label": container.labels.clone().unwrap_or_default(),
        "Labels": listing::labels(container.labels.as_ref()),
        "LocalVolumes": local_volumes.to_string(),
        "Mounts": mounts.collect::<Vec<_>>().join(","),
        "Names": names.collect::<Vec<_>>().join(","),
        "Networks": networks.join(","),
        "Ports": ports(container.ports.as_deref().unwrap_or_default()),
        "RunningFor": human::ago(created, now),
        "Size": size(container),
        "State": container.state.map(|state| state.to_string()).unwrap_or_default(),
        "Status": container.status,
    })
}

/// `0B (virtual 1.2MB)`; nothing is known where nobody asked.
fn size(container: &ContainerSummary) -> String {
    let bytes = |size: Option<i64>| human::size(size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0));
    match container.size_root_fs {
        Some(root) if root > 0 => format!("{} (virtual {})", bytes(container.size_rw), bytes(Some(root))),
        _ => bytes(container.size_rw),
    }
}

/// Ports that stand for themselves, in a row: `80/tcp`, `0.0.0.0:8000-8002->8000-8002/tcp`.
struct Range {
    /// What they have in common: the address, and the protocol.
    ip: Option<String>,
    protocol: String,
    first: u16,
    last: u16,
}

impl Range {
    fn text(&self) -> String {
        let (first, last, protocol) = (self.first, self.last, &self.protocol);
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match &self.ip {
            Some(ip) => format!("{}:{ports}->{ports}/{protocol}", bracketed(ip)),
            None => format!("{ports}/{protocol}"),
        }
    }
}

fn bracketed(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

/// `0.0.0.0:8080->80/tcp, 90/tcp`, as Docker has it: what is published by its own number makes ranges and comes first.
fn ports(ports: &[PortSummary]) -> String {
    let mut sorted: Vec<&PortSummary> = ports.iter().collect();
    sorted.sort_by(|a, b| (a.private_port, &a.ip, a.public_port).cmp(&(b.private_port, &b.ip, b.public_port)));
    let (mut done, mut ranges, mut others) = (Vec::new(), Vec::<Range>::new(), Vec::new());
    for port in sorted {
        let inside = port.private_port;
        let protocol = port.typ.map_or_else(|| "tcp".to_owned(), |protocol| protocol.to_string());
        let ip = match (port.public_port, port.ip.as_deref().unwrap_or("0.0.0.0")) {
            (None, _) => None,
            (Some(public), ip) if public == inside => Some(ip.to_owned()),
            (Some(public), ip) => {
                others.push(format!("{}:{public}->{inside}/{protocol}", bracketed(ip)));
                continue;
            }
        };
        match ranges.iter_mut().find(|range| range.ip == ip && range.protocol == protocol) {
            Some(range) if range.last.checked_add(1) == Some(inside) => range.last = inside,
            Some(range) => {
                done.push(range.text());
                (range.first, range.last) = (inside, inside);
            }
            None => ranges.push(Range { ip, protocol, first: inside, last: inside }),
        }
    }
    done.extend(ranges.iter().map(Range::text));
    done.extend(others);
    done.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> ContainerSummary {
        serde_json::from_value(json!({
            "Id": "0123456789abcdef", "Names": ["/web"], "Image": "debian", "Command": "sh -c 'sleep 1000000'",
            "Created": 1000, "Status": "Up 5 minutes", "State": "running", "Labels": {"b": "2", "a": "1"},
            "SizeRw": 12_000, "SizeRootFs": 2_000_000,
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
        let row = row(&container(), false, 1300);
        for (field, expected) in [
            ("ID", "0123456789ab"),
            ("Command", "\"sh -c 'sleep 100000…\""),
            ("RunningFor", "5 minutes ago"),
            ("Ports", "90/udp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
            ("Names", "web"),
            ("Labels", "a=1,b=2"),
            ("Mounts", "a-long-volume-…,/srv"),
            ("LocalVolumes", "1"),
            ("Size", "12kB (virtual 2MB)"),
            ("State", "running"),
            ("CreatedAt", "1970-01-01 00:16:40 +0000 UTC"),
        ] {
            assert_eq!(row[field], expected, "{field}");
        }
        let text = listing::render("table", COLUMNS, &[row]).unwrap();
        assert!(text.starts_with("CONTAINER ID   IMAGE     COMMAND"), "{text}");
    }

    #[test]
    fn nothing_is_shortened_on_demand() {
        let mut listed = container();
        let row = |listed: &ContainerSummary| row(listed, true, 1300);
        assert_eq!(row(&listed)["ID"], "0123456789abcdef");
        assert_eq!(row(&listed)["Command"], "\"sh -c 'sleep 1000000'\"");
        listed.command = Some("sh -c \"a\nb\u{1b}[2J\"".into());
        assert_eq!(row(&listed)["Command"], r#""sh -c \"a\nb\x1b[2J\"""#, "as Go quotes it");
    }

    #[test]
    fn ports_of_the_same_number_make_ranges() {
        let list = [(8000, Some(8000)), (8001, Some(8001)), (8003, Some(8003)), (80, Some(81)), (90, None), (91, None)];
        let list = list.map(|(inside, public)| PortSummary {
            private_port: inside,
            public_port: public,
            ip: public.map(|_| "0.0.0.0".to_owned()),
            ..PortSummary::default()
        });
        let expected = "0.0.0.0:8000-8001->8000-8001/tcp, 90-91/tcp, 0.0.0.0:8003->8003/tcp, 0.0.0.0:81->80/tcp";
        assert_eq!(ports(&list), expected);
    }
}
