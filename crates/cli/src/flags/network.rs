// SPDX-License-Identifier: Apache-2.0
//! The flags about a container's networks, names and ports, and the Engine API's JSON that they amount to.

use std::collections::HashMap;
use std::net::IpAddr;

use api_types::docker::{EndpointIpamConfig, EndpointSettings, HostConfig, NetworkingConfig, PortMap};
use clap::Args;

use super::fields::fields;
use super::{FlagError, environment, ports};
use crate::cli::plain::{Keep, Place, Plain};

/// What clients call the network of whoever names none.
const DEFAULT: &str = "default";

/// What is hidden is refused by the daemon, with the reason.
#[derive(Debug, Default, Args)]
pub(crate) struct NetworkFlags {
    /// Add a line to /etc/hosts: NAME:ADDRESS; host-gateway is the address of the host
    #[arg(long, value_name = "HOST")]
    add_host: Vec<String>,
    /// Ask this name server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// An option of the resolver, as in ndots:2
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Look for names in this domain; `.` for none
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Say that a port is listened on, without publishing it: PORT[-PORT][/udp]
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// Its address in the network, as in 172.30.100.104
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Its IPv6 address in the network, as in fd00:1:2:3::104
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<IpAddr>,
    /// Name another container as ALIAS: CONTAINER[:ALIAS]
    #[arg(long, value_name = "CONTAINER")]
    link: Vec<String>,
    /// A link-local address
    #[arg(long, hide = true, value_name = "ADDRESS")]
    link_local_ip: Vec<IpAddr>,
    /// Its hardware address in the network, as in 92:d0:c6:0a:29:33
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Its network: bridge, host, none, container:NAME, or a network's name; name=NAME,alias=NAME,ip=ADDRESS with wishes (may be
    /// given several times)
    #[arg(long, alias = "net", value_name = "NETWORK", value_parser = endpoint)]
    network: Vec<Endpoint>,
    /// One more name by which others in the network find it
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Publish a port: [[IP:]HOST:]CONTAINER[/udp]
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish every exposed port, on ports that are free
    #[arg(short = 'P', long)]
    publish_all: bool,
}

/// A network, and what is wished of the place there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Endpoint {
    network: String,
    wish: EndpointSettings,
}

impl Plain for NetworkFlags {
    fn flag(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "network" | "net" => Place::Value(&mut self.network),
            "p" | "publish" => Place::Value(&mut self.publish),
            _ => return None,
        })
    }
}

impl Keep for Vec<Endpoint> {
    fn keep(&mut self, text: &str) -> Option<()> {
        self.push(endpoint(text).ok()?);
        Some(())
    }
}

/// What the flags amount to.
#[derive(Debug)]
pub(crate) struct Networking {
    pub(crate) exposed: Option<Vec<String>>,
    pub(crate) config: Option<NetworkingConfig>,
}

impl NetworkFlags {
    /// Writes what belongs into the host's part of the body; what belongs elsewhere is the answer.
    pub(crate) fn write(&self, host: &mut HostConfig) -> Result<Networking, FlagError> {
        let mut bindings = PortMap::new();
        for port in &self.publish {
            ports::publish(port, &mut bindings)?;
        }
        let mut exposed = Vec::new();
        for text in &self.expose {
            exposed.extend(ports::expose(text)?);
        }
        // Who publishes a port says that it is listened on.
        exposed.extend(bindings.keys().cloned());
        exposed.sort();
        exposed.dedup();
        let endpoints = self.endpoints()?;
        host.port_bindings = Some(bindings).filter(|map| !map.is_empty());
        host.publish_all_ports = self.publish_all.then_some(true);
        host.network_mode = endpoints.first().map(|endpoint| endpoint.network.clone());
        host.dns = some(&self.dns);
        host.dns_options = some(&self.dns_option);
        host.dns_search = some(&self.dns_search);
        host.extra_hosts = some(&self.add_host.iter().map(|text| extra_host(text)).collect::<Result<Vec<_>, _>>()?);
        if endpoints.first().is_none_or(|endpoint| has_no_names(&endpoint.network)) {
            // The old kind, of the default bridge.
            host.links = some(&self.link);
        }
        let wished = endpoints.len() > 1 || endpoints.iter().any(|one| one.wish != EndpointSettings::default());
        let settings: HashMap<String, EndpointSettings> =
            endpoints.into_iter().map(|endpoint| (endpoint.network, endpoint.wish)).collect();
        Ok(Networking {
            exposed: some(&exposed),
            config: wished.then_some(NetworkingConfig { endpoints_config: Some(settings) }),
        })
    }

    /// The networks in their order, with the wishes of the flags for the first of them.
    fn endpoints(&self) -> Result<Vec<Endpoint>, FlagError> {
        let mut endpoints = self.network.clone();
        for (index, endpoint) in endpoints.iter().enumerate() {
            if endpoints[..index].iter().any(|other| other.network == endpoint.network) {
                return Err(FlagError::invalid(&endpoint.network, "is named twice by --network"));
            }
        }
        let own = self.own_wish(endpoints.first().map_or(DEFAULT, |endpoint| endpoint.network.as_str()));
        if own == EndpointSettings::default() {
            return Ok(endpoints);
        }
        match endpoints.first_mut() {
            None => endpoints.push(Endpoint { network: DEFAULT.to_owned(), wish: own }),
            Some(first) if first.wish == EndpointSettings::default() => first.wish = own,
            Some(first) => {
                let problem = "has wishes of its own: say the others there, too, rather than by flags beside --network";
                return Err(FlagError::invalid(&first.network, problem));
            }
        }
        Ok(endpoints)
    }

    fn own_wish(&self, network: &str) -> EndpointSettings {
        let link_local: Vec<String> = self.link_local_ip.iter().map(ToString::to_string).collect();
        let addresses = self.ip.is_some() || self.ip6.is_some() || !link_local.is_empty();
        EndpointSettings {
            aliases: some(&self.network_alias),
            mac_address: self.mac_address.clone(),
            links: some(&self.link).filter(|_| !has_no_names(network)),
            ipam_config: addresses.then(|| EndpointIpamConfig {
                ipv4_address: self.ip.map(|ip| ip.to_string()),
                ipv6_address: self.ip6.map(|ip| ip.to_string()),
                link_local_ips: some(&link_local),
            }),
            ..EndpointSettings::default()
        }
    }
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// Whether containers in this network are not found by names.
fn has_no_names(network: &str) -> bool {
    matches!(network, DEFAULT | "bridge" | "host" | "none") || network.starts_with("container:")
}

/// `--network NAME`, or `name=NAME,KEY=VALUE,…`.
fn endpoint(text: &str) -> Result<Endpoint, FlagError> {
    let mut endpoint = Endpoint { network: text.to_owned(), wish: EndpointSettings::default() };
    if text.is_empty() {
        return Err(FlagError::invalid(text, "is no network"));
    }
    if !text.contains('=') {
        return Ok(endpoint);
    }
    endpoint.network.clear();
    let (mut addresses, mut options) = (EndpointIpamConfig::default(), Vec::new());
    let quoted = || FlagError::invalid(text, "has an empty field, or a quote without its end");
    for field in fields(text).ok_or_else(quoted)? {
        let unknown = || {
            FlagError::invalid(
                &field,
                "is not understood: there are name, alias, ip, ip6, link-local-ip, mac-address, gw-priority and driver-opt",
            )
        };
        let (key, value) = field.split_once('=').ok_or_else(unknown)?;
        let value = value.to_owned();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => endpoint.network = value,
            "alias" => endpoint.wish.aliases.get_or_insert_default().push(value),
            "ip" => addresses.ipv4_address = Some(value),
            "ip6" => addresses.ipv6_address = Some(value),
            "link-local-ip" => addresses.link_local_ips.get_or_insert_default().push(value),
            "mac-address" => endpoint.wish.mac_address = Some(value),
            "gw-priority" => {
                let number = value.parse().map_err(|_| FlagError::invalid(&field, "is no number"))?;
                endpoint.wish.gw_priority = Some(number);
            }
            "driver-opt" => options.push(value),
            _ => return Err(unknown()),
        }
    }
    if endpoint.network.is_empty() {
        return Err(FlagError::invalid(text, "does not say name=NAME"));
    }
    endpoint.wish.ipam_config = (addresses != EndpointIpamConfig::default()).then_some(addresses);
    endpoint.wish.driver_opts = Some(environment::labels(&options)?).filter(|map| !map.is_empty());
    Ok(endpoint)
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`, as the API has it: `NAME:ADDRESS`.
fn extra_host(text: &str) -> Result<String, FlagError> {
    let at = text.find(['=', ':']).unwrap_or(0);
    let (name, address) = (&text[..at], text.get(at + 1..).unwrap_or_default());
    if name.is_empty() {
        return Err(FlagError::invalid(text, "is not NAME:ADDRESS"));
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(FlagError::invalid(text, "has no IP address after the name"));
    }
    Ok(format!("{name}:{bare}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: NetworkFlags,
    }

    /// The host's part and the networks' part of the body.
    fn body(line: &str) -> Result<(Value, Value, Option<Vec<String>>), String> {
        let line = Line::try_parse_from(std::iter::once("run").chain(line.split_whitespace()));
        let mut host = HostConfig::default();
        let written = line.map_err(|error| error.to_string())?.flags.write(&mut host).map_err(|e| e.to_string())?;
        let value = serde_json::to_value(written.config.and_then(|config| config.endpoints_config)).unwrap();
        Ok((serde_json::to_value(host).unwrap(), value, written.exposed))
    }

    #[test]
    fn a_plain_network_is_the_mode_and_nothing_else() {
        for (line, mode) in [
            ("", Value::Null),
            ("--network host", "host".into()),
            ("--net mine", "mine".into()),
            ("--network container:other", "container:other".into()),
            ("--network name=mine", "mine".into()),
        ] {
            let (host, endpoints, _) = body(line).unwrap();
            assert_eq!((&host["NetworkMode"], &endpoints), (&mode, &Value::Null), "{line}");
        }
    }

    #[test]
    fn wishes_are_for_the_first_network_or_beside_its_name() {
        let (host, endpoints, _) = body(
            "--network mine --network name=other,alias=a,alias=b,ip=10.2.0.9,gw-priority=-1,mac-address=02:00:00:00:00:01 \
             --network-alias web --ip 10.1.0.9 --ip6 fd00:1::9 --link db:store",
        )
        .unwrap();
        assert_eq!((&host["NetworkMode"], &host["Links"]), (&"mine".into(), &Value::Null));
        assert_eq!(
            endpoints["mine"],
            json!({"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.1.0.9", "IPv6Address": "fd00:1::9"},
                "Links": ["db:store"]})
        );
        assert_eq!(
            endpoints["other"],
            json!({"Aliases": ["a", "b"], "IPAMConfig": {"IPv4Address": "10.2.0.9"}, "GwPriority": -1,
                "MacAddress": "02:00:00:00:00:01"})
        );
        assert_eq!(body("--mac-address 02:00:00:00:00:01").unwrap().1["default"]["MacAddress"], "02:00:00:00:00:01");
        assert_eq!(body("--link db").unwrap().0["Links"], json!(["db"]));
    }

    #[test]
    fn names_and_ports_reach_the_body_as_docker_writes_them() {
        let (host, _, exposed) = body(
            "--dns 10.0.0.1 --dns-search a.b --dns-opt ndots:2 --add-host db=10.1.1.1 --add-host up:host-gateway \
             --add-host six:[::1] --expose 7000-7001/udp -p 8080:80 -P",
        )
        .unwrap();
        assert_eq!(host["Dns"], json!(["10.0.0.1"]));
        assert_eq!(host["DnsSearch"], json!(["a.b"]));
        assert_eq!(host["DnsOptions"], json!(["ndots:2"]));
        assert_eq!(host["ExtraHosts"], json!(["db:10.1.1.1", "up:host-gateway", "six:::1"]));
        assert_eq!(host["PublishAllPorts"], true);
        assert_eq!(exposed.unwrap(), ["7000/udp", "7001/udp", "80/tcp"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            "--network mine --network mine",
            "--network alias=a",
            "--network name=mine,colour=red",
            "--network name=mine,gw-priority=high",
            "--network name=mine,alias=a --network-alias b",
            "--ip ten",
            "--add-host db",
            "--add-host db:somewhere",
            "--expose 0",
            "--expose 80/icmp",
        ] {
            assert!(body(line).is_err(), "{line}");
        }
    }
}
