// SPDX-License-Identifier: Apache-2.0
//! Networks in Docker's words and in the engine's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::str::FromStr;

use api_types::docker::{
    ConfigReference, EndpointResource, Ipam as DockerIpam, IpamConfig, IpamStatus, Network as DockerNetwork,
    NetworkCreateRequest, NetworkInspect, NetworkStatus, SubnetStatus,
};
use engine::{Ipam, Member, Network, NetworkSpec};
use network::{MacAddress, Subnet};

use crate::error::ApiError;

/// Where every network of this host's reaches.
const LOCAL: &str = "local";

/// A wish for a network.
pub(crate) fn spec(body: NetworkCreateRequest) -> Result<NetworkSpec, ApiError> {
    let text = |field: Option<String>| field.filter(|text| !text.is_empty());
    refuse(&body)?;
    let ipam = body.ipam.unwrap_or_default();
    let mut configs = ipam.config.unwrap_or_default().into_iter();
    let config = configs.next().unwrap_or_default();
    if configs.next().is_some() {
        return Err(ApiError::Unsupported("IPAM.Config with more than one subnet for a network".into()));
    }
    let reserved = config.auxiliary_addresses.unwrap_or_default().into_iter();
    let reserved = reserved.map(|(name, address)| Ok((name, parse("IPAM.Config.AuxiliaryAddresses", &address)?)));
    Ok(NetworkSpec {
        name: body.name,
        driver: text(body.driver),
        internal: body.internal.unwrap_or(false),
        attachable: body.attachable.unwrap_or(false),
        subnet: optional("IPAM.Config.Subnet", text(config.subnet))?,
        gateway: optional("IPAM.Config.Gateway", text(config.gateway))?,
        range: optional("IPAM.Config.IPRange", text(config.ip_range))?,
        reserved: reserved.collect::<Result<BTreeMap<String, Ipv4Addr>, ApiError>>()?,
        options: body.options.unwrap_or_default().into_iter().collect(),
        labels: body.labels.unwrap_or_default().into_iter().collect(),
    })
}

/// Refuses by name what a network cannot have here.
fn refuse(body: &NetworkCreateRequest) -> Result<(), ApiError> {
    let ipam = body.ipam.as_ref();
    let driver = ipam.and_then(|ipam| ipam.driver.as_deref()).unwrap_or("");
    let refused = [
        (body.enable_ipv6 == Some(true), "EnableIPv6: networks here have IPv4 addresses only, so this"),
        (body.enable_ipv4 == Some(false), "EnableIPv4=false: networks here have IPv4 addresses, so this"),
        (body.config_only == Some(true), "ConfigOnly: configurations without a network, so this"),
        (
            body.config_from.as_ref().is_some_and(|from| from.network.as_deref().is_some_and(|name| !name.is_empty())),
            "ConfigFrom",
        ),
        (body.ingress == Some(true), "Ingress: this host is in no swarm, so this"),
        (
            !matches!(body.scope.as_deref(), None | Some("" | LOCAL)),
            "Scope: networks reach as far as this host, so another one",
        ),
        (!matches!(driver, "" | "default"), "IPAM.Driver: addresses are chosen by \"default\", so another one"),
        (ipam.is_some_and(|ipam| ipam.options.as_ref().is_some_and(|map| !map.is_empty())), "IPAM.Options"),
    ];
    match refused.iter().find(|(is_set, _)| *is_set) {
        Some((_, field)) => Err(ApiError::Unsupported((*field).to_owned())),
        None => Ok(()),
    }
}

fn parse<T: FromStr>(field: &'static str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(field, format!("\"{text}\" is not what it must be: {}", example(field))))
}

fn example(field: &str) -> &'static str {
    match field {
        "IPAM.Config.Subnet" | "IPAM.Config.IPRange" => "an IPv4 subnet, as in 172.28.0.0/16",
        _ => "an IPv4 address, as in 172.28.0.10",
    }
}

fn optional<T: FromStr>(field: &'static str, text: Option<String>) -> Result<Option<T>, ApiError> {
    text.map(|text| parse(field, &text)).transpose()
}

/// A network as it is listed.
pub(crate) fn summary(network: &Network) -> DockerNetwork {
    DockerNetwork {
        name: Some(network.name.clone()),
        id: Some(network.id.to_string()),
        created: Some(network.created.to_string()),
        scope: Some(LOCAL.into()),
        driver: Some(network.driver.as_str().into()),
        enable_ipv4: Some(true),
        enable_ipv6: Some(false),
        ipam: Some(ipam(network.ipam.as_ref())),
        internal: Some(network.internal),
        attachable: Some(network.attachable),
        ingress: Some(false),
        config_from: Some(ConfigReference { network: Some(String::new()) }),
        config_only: Some(false),
        options: Some(network.options.clone().into_iter().collect()),
        labels: Some(network.labels.clone().into_iter().collect()),
        peers: None,
    }
}

fn ipam(ipam: Option<&Ipam>) -> DockerIpam {
    let config = ipam.map(|ipam| IpamConfig {
        subnet: Some(ipam.subnet.to_string()),
        ip_range: ipam.range.map(|range| range.to_string()),
        gateway: Some(ipam.gateway.to_string()),
        auxiliary_addresses: Some(ipam.reserved.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect())
            .filter(|map: &HashMap<String, String>| !map.is_empty()),
    });
    DockerIpam {
        driver: Some("default".into()),
        config: Some(config.into_iter().collect()),
        options: Some(HashMap::new()),
    }
}

/// How many addresses of a network's subnet are in use, and how many more containers can get one.
pub(crate) fn status(network: &Network, members: &[Member]) -> NetworkStatus {
    let subnets = network.ipam.iter().map(|ipam| {
        let subnet = ipam.subnet;
        let kept = [subnet.network(), subnet.broadcast(), ipam.gateway].into_iter();
        let taken: BTreeSet<Ipv4Addr> =
            kept.chain(ipam.reserved.values().copied()).chain(members.iter().map(|member| member.address)).collect();
        let range = ipam.range.unwrap_or(subnet);
        let within = |range: &Subnet| taken.iter().filter(|address| range.contains(**address)).count() as u64;
        let size = u64::from(u32::from(range.broadcast()) - u32::from(range.network())) + 1;
        let status = SubnetStatus {
            ips_in_use: Some(within(&subnet)),
            dynamic_ips_available: Some(size.saturating_sub(within(&range))),
        };
        (subnet.to_string(), status)
    });
    NetworkStatus { ipam: Some(IpamStatus { subnets: Some(subnets.collect()) }) }
}

/// All about a network.
pub(crate) fn inspect(network: &Network, members: &[Member]) -> NetworkInspect {
    let listed = summary(network);
    let member = |member: &Member| {
        let place = EndpointResource {
            name: Some(member.name.clone()),
            endpoint_id: Some(member.endpoint_id.clone()),
            mac_address: Some(MacAddress(member.mac).to_string()),
            ipv4_address: Some(format!("{}/{}", member.address, member.prefix)),
            ipv6_address: Some(String::new()),
        };
        (member.container.to_string(), place)
    };
    NetworkInspect {
        name: listed.name,
        id: listed.id,
        created: listed.created,
        scope: listed.scope,
        driver: listed.driver,
        enable_ipv4: listed.enable_ipv4,
        enable_ipv6: listed.enable_ipv6,
        ipam: listed.ipam,
        internal: listed.internal,
        attachable: listed.attachable,
        ingress: listed.ingress,
        config_from: listed.config_from,
        config_only: listed.config_only,
        options: listed.options,
        labels: listed.labels,
        containers: Some(members.iter().map(member).collect()),
        ..NetworkInspect::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<NetworkSpec, ApiError> {
        spec(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_wish_for_a_network_is_read() {
        let spec = read(
            r#"{"Name":"mine","CheckDuplicate":true,"Driver":"bridge","Internal":true,"EnableIPv6":false,"IPAM":{
            "Driver":"default","Options":{},"Config":[{"Subnet":"10.1.0.0/16","IPRange":"10.1.2.0/24","Gateway":"10.1.0.9",
            "AuxiliaryAddresses":{"a":"10.1.0.5"}}]},"Options":{"k":"v"},"Labels":{"l":"1"}}"#,
        )
        .unwrap();
        assert_eq!((spec.name.as_str(), spec.internal), ("mine", true));
        assert_eq!(spec.subnet.unwrap().to_string(), "10.1.0.0/16");
        assert_eq!(spec.range.unwrap().to_string(), "10.1.2.0/24");
        assert_eq!((spec.gateway.unwrap(), spec.reserved["a"]), ([10, 1, 0, 9].into(), [10, 1, 0, 5].into()));
        assert_eq!((spec.options["k"].as_str(), spec.labels["l"].as_str()), ("v", "1"));
        assert_eq!(read(r#"{"Name":"mine","IPAM":{"Config":[{}]}}"#).unwrap().subnet, None);
    }

    #[test]
    fn what_a_network_cannot_have_is_named() {
        for (json, field) in [
            (r#"{"Name":"x","EnableIPv6":true}"#, "EnableIPv6"),
            (r#"{"Name":"x","EnableIPv4":false}"#, "EnableIPv4"),
            (r#"{"Name":"x","ConfigOnly":true}"#, "ConfigOnly"),
            (r#"{"Name":"x","ConfigFrom":{"Network":"y"}}"#, "ConfigFrom"),
            (r#"{"Name":"x","Ingress":true}"#, "Ingress"),
            (r#"{"Name":"x","Scope":"swarm"}"#, "Scope"),
            (r#"{"Name":"x","IPAM":{"Driver":"other"}}"#, "IPAM.Driver"),
            (r#"{"Name":"x","IPAM":{"Options":{"a":"b"}}}"#, "IPAM.Options"),
            (r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"10.1.0.0/16"},{"Subnet":"10.2.0.0/16"}]}}"#, "IPAM.Config"),
            (r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"ten"}]}}"#, "IPAM.Config.Subnet"),
            (r#"{"Name":"x","IPAM":{"Config":[{"Gateway":"::1"}]}}"#, "IPAM.Config.Gateway"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(field), "{json}: {error}");
        }
    }
}
