// SPDX-License-Identifier: Apache-2.0
//! `corten port`: where a container's ports are published.

use std::net::IpAddr;

use api_types::docker::{PortBinding, PortMap};
use errors::Kind;

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;

/// List where a container's ports are published on the host
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name or an id
    container: String,
    /// Only this port of the container: PORT or PORT/PROTOCOL, tcp without one
    #[arg(value_name = "PORT[/PROTOCOL]", value_parser = port)]
    port: Option<Port>,
}

/// A port and its protocol.
type Port = (u16, String);

/// `80`, `80/tcp`, `53/udp`.
fn port(text: &str) -> Result<Port, String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let number = number.parse().map_err(|_| format!("{number:?} is no port: a number up to 65535 is"))?;
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("{protocol:?} is no protocol: tcp, udp and sctp are"));
    }
    Ok((number, protocol))
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let container = context.client.inspect_container(&args.container).await?;
    let ports = container.network_settings.and_then(|settings| settings.ports).unwrap_or_default();
    let text = match &args.port {
        None => all(&ports),
        Some(port) => one(&ports, port).ok_or_else(|| {
            let message = format!("no public port '{}/{}' published for {}", port.0, port.1, args.container);
            Failure::new(Kind::NotFound, message)
                .with_hint(format!("`corten port {}` lists those that are", args.container))
        })?,
    };
    printer::data(text.as_bytes());
    Ok(0)
}

/// `80/tcp -> 0.0.0.0:8080`, the lowest port first.
fn all(ports: &PortMap) -> String {
    let mut known: Vec<(Port, &[PortBinding])> = ports
        .iter()
        .filter_map(|(key, bindings)| Some((port(key).ok()?, bindings.as_deref().unwrap_or_default())))
        .collect();
    known.sort_by(|(a, _), (b, _)| a.cmp(b));
    let lines = known.iter().flat_map(|((number, protocol), bindings)| {
        bindings.iter().map(move |binding| format!("{number}/{protocol} -> {}\n", address(binding)))
    });
    lines.collect()
}

/// The addresses of one port, a line each; `None` when it is not published.
fn one(ports: &PortMap, wanted: &Port) -> Option<String> {
    let bindings = ports.get(&format!("{}/{}", wanted.0, wanted.1))?.as_deref().filter(|list| !list.is_empty())?;
    Some(bindings.iter().map(|binding| address(binding) + "\n").collect())
}

/// The host's address and port; a v6 address in brackets.
fn address(binding: &PortBinding) -> String {
    let host = binding.host_ip.as_deref().unwrap_or_default();
    let port = binding.host_port.as_deref().unwrap_or_default();
    match host.parse() {
        Ok(IpAddr::V6(_)) => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> PortMap {
        let binding = |ip: &str, port: &str| PortBinding { host_ip: Some(ip.into()), host_port: Some(port.into()) };
        PortMap::from([
            ("443/tcp".into(), Some(vec![binding("::", "8443")])),
            ("80/tcp".into(), Some(vec![binding("0.0.0.0", "8080"), binding("127.0.0.1", "8081")])),
            ("53/udp".into(), Some(vec![binding("0.0.0.0", "53")])),
            ("9/tcp".into(), None),
        ])
    }

    #[test]
    fn all_are_listed_in_order() {
        let lines =
            ["53/udp -> 0.0.0.0:53", "80/tcp -> 0.0.0.0:8080", "80/tcp -> 127.0.0.1:8081", "443/tcp -> [::]:8443"];
        assert_eq!(all(&ports()), lines.map(|line| format!("{line}\n")).concat());
    }

    #[test]
    fn one_is_looked_up_with_its_protocol() {
        let look = |text| one(&ports(), &port(text).unwrap());
        assert_eq!(look("80").as_deref(), Some("0.0.0.0:8080\n127.0.0.1:8081\n"));
        assert_eq!(look("53/UDP").as_deref(), Some("0.0.0.0:53\n"));
        assert_eq!((look("53"), look("9"), look("1")), (None, None, None));
        for bad in ["", "x", "65536", "80/icmp", "-1"] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }
}
