// SPDX-License-Identifier: Apache-2.0
//! Networks in Docker's words and in the engine's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::str::FromStr;

use api_types::docker::{
    ConfigReference, EndpointResource, Ipam as DockerIpam, IpamConfig, IpamStatus, Network as DockerNetwork,
    NetworkCreateRequest, NetworkInspect, NetworkStatus, SubnetStatus,
};
use engine::{Ipam, IpamWish, Member, Network, NetworkSpec};
use network::{Ip, MacAddress, Subnet};

use crate::error::ApiError;

/// Where every network of this host's reaches.
const LOCAL: &str = "local";

/// A wish for a network.
pub(crate) fn spec(body: NetworkCreateRequest) -> Result<NetworkSpec, ApiError> {
    let text = |field: Option<String>| field.filter(|text| !text.is_empty());
    refuse(&body)?;
    let (mut ipv4, mut ipv6) = (None, None);
    for config in body.ipam.unwrap_or_default().config.unwrap_or_default() {
        if is_ipv6(&config) {
            only(&mut ipv6, addresses(config, IPV6_EXAMPLES)?)?;
        } else {
            only(&mut ipv4, addresses(config, IPV4_EXAMPLES)?)?;
        }
    }
    let has_ipv6 = body.enable_ipv6.unwrap_or(false);
    if ipv6.is_some() && !has_ipv6 {
        let reason = "is an IPv6 subnet: EnableIPv6 says that the network has none (--ipv6 says that it has)";
        return Err(ApiError::invalid("IPAM.Config", reason));
    }
    Ok(NetworkSpec {
        name: body.name,
        driver: text(body.driver),
        internal: body.internal.unwrap_or(false),
        attachable: body.attachable.unwrap_or(false),
        ipv4: ipv4.unwrap_or_default(),
        ipv6: has_ipv6.then(|| ipv6.unwrap_or_default()),
        options: body.options.unwrap_or_default().into_iter().collect(),
        labels: body.labels.unwrap_or_default().into_iter().collect(),
    })
}

/// A subnet and an address, as they are written.
type Examples = [&'static str; 2];
const IPV4_EXAMPLES: Examples = ["an IPv4 subnet, as in 172.28.0.0/16", "an IPv4 address, as in 172.28.0.10"];
const IPV6_EXAMPLES: Examples = ["an IPv6 subnet, as in fd00:1:2:3::/64", "an IPv6 address, as in fd00:1:2:3::10"];

/// Of which family it is, its subnet says, or whatever it has instead.
fn is_ipv6(config: &IpamConfig) -> bool {
    let first = [&config.subnet, &config.gateway, &config.ip_range].into_iter().flatten().find(|text| !text.is_empty());
    first.is_some_and(|text| text.contains(':'))
}

fn only<A>(known: &mut Option<IpamWish<A>>, new: IpamWish<A>) -> Result<(), ApiError> {
    match known.replace(new) {
        None => Ok(()),
        Some(_) => Err(ApiError::Unsupported("IPAM.Config with more than one subnet of a family for a network".into())),
    }
}

fn addresses<A: Ip + FromStr>(config: IpamConfig, [subnet, address]: Examples) -> Result<IpamWish<A>, ApiError> {
    let reserved = config.auxiliary_addresses.unwrap_or_default().into_iter();
    let reserved = reserved.map(|(name, text)| Ok((name, parse("IPAM.Config.AuxiliaryAddresses", &text, address)?)));
    Ok(IpamWish {
        subnet: optional("IPAM.Config.Subnet", config.subnet, subnet)?,
        gateway: optional("IPAM.Config.Gateway", config.gateway, address)?,
        range: optional("IPAM.Config.IPRange", config.ip_range, subnet)?,
        reserved: reserved.collect::<Result<BTreeMap<String, A>, ApiError>>()?,
    })
}

/// Refuses by name what a network cannot have here.
fn refuse(body: &NetworkCreateRequest) -> Result<(), ApiError> {
    let ipam = body.ipam.as_ref();
    let driver = ipam.and_then(|ipam| ipam.driver.as_deref()).unwrap_or("");
    let refused = [
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

fn parse<T: FromStr>(field: &'static str, text: &str, example: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(field, format!("\"{text}\" is not what it must be: {example}")))
}

fn optional<T: FromStr>(field: &'static str, text: Option<String>, example: &str) -> Result<Option<T>, ApiError> {
    text.filter(|text| !text.is_empty()).map(|text| parse(field, &text, example)).transpose()
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
        enable_ipv6: Some(network.ipv6.is_some()),
        ipam: Some(ipam(network)),
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

fn ipam(network: &Network) -> DockerIpam {
    let ipv4 = network.ipam.as_ref().map(ipam_config);
    let ipv6 = network.ipv6.as_ref().map(ipam_config);
    DockerIpam {
        driver: Some("default".into()),
        config: Some(ipv4.into_iter().chain(ipv6).collect()),
        options: Some(HashMap::new()),
    }
}

fn ipam_config<A: Ip>(ipam: &Ipam<A>) -> IpamConfig {
    IpamConfig {
        subnet: Some(ipam.subnet.to_string()),
        ip_range: ipam.range.map(|range| range.to_string()),
        gateway: Some(ipam.gateway.to_string()),
        auxiliary_addresses: Some(ipam.reserved.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect())
            .filter(|map: &HashMap<String, String>| !map.is_empty()),
    }
}

/// How many addresses of a network's subnets are in use, and how many more containers can get one.
pub(crate) fn status(network: &Network, members: &[Member]) -> NetworkStatus {
    let ipv4 = network
        .ipam
        .as_ref()
        .map(|ipam| subnet_status(ipam, [ipam.subnet.last()], members.iter().map(|member| member.endpoint.address)));
    let ipv6 = network.ipv6.as_ref().map(|ipam| {
        let own = members.iter().filter_map(|member| Some(member.endpoint.ipv6?.address));
        subnet_status::<Ipv6Addr>(ipam, [], own)
    });
    NetworkStatus { ipam: Some(IpamStatus { subnets: Some(ipv4.into_iter().chain(ipv6).collect()) }) }
}

fn subnet_status<A: Ip>(
    ipam: &Ipam<A>,
    everybodys: impl IntoIterator<Item = A>,
    members: impl Iterator<Item = A>,
) -> (String, SubnetStatus) {
    let subnet = ipam.subnet;
    let kept = [subnet.network(), ipam.gateway].into_iter().chain(everybodys);
    let taken: BTreeSet<A> = kept.chain(ipam.reserved.values().copied()).chain(members).collect();
    let range = ipam.range.unwrap_or(subnet);
    let within = |range: &Subnet<A>| taken.iter().filter(|address| range.contains(**address)).count() as u64;
    // All but one, which is as many as can be counted where there are more.
    let others = range.last().to_number() - range.network().to_number();
    let size = u64::try_from(others).unwrap_or(u64::MAX).saturating_add(1);
    let status = SubnetStatus {
        ips_in_use: Some(within(&subnet)),
        dynamic_ips_available: Some(size.saturating_sub(within(&range))),
    };
    (subnet.to_string(), status)
}

/// All about a network.
pub(crate) fn inspect(network: &Network, members: &[Member]) -> NetworkInspect {
    let listed = summary(network);
    let member = |member: &Member| {
        let place = EndpointResource {
            name: Some(member.name.clone()),
            endpoint_id: Some(member.endpoint_id.clone()),
            mac_address: Some(MacAddress(member.endpoint.mac).to_string()),
            ipv4_address: Some(format!("{}/{}", member.endpoint.address, member.endpoint.prefix)),
            ipv6_address: Some(
                member.endpoint.ipv6.map(|ipv6| format!("{}/{}", ipv6.address, ipv6.prefix)).unwrap_or_default(),
            ),
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
        assert_eq!(spec.ipv4.subnet.unwrap().to_string(), "10.1.0.0/16");
        assert_eq!(spec.ipv4.range.unwrap().to_string(), "10.1.2.0/24");
        let reserved = spec.ipv4.reserved["a"];
        assert_eq!((spec.ipv4.gateway.unwrap(), reserved), ([10, 1, 0, 9].into(), [10, 1, 0, 5].into()));
        assert_eq!((spec.options["k"].as_str(), spec.labels["l"].as_str()), ("v", "1"));
        assert_eq!(read(r#"{"Name":"mine","IPAM":{"Config":[{}]}}"#).unwrap().ipv4.subnet, None);
        assert_eq!(spec.ipv6, None);
    }

    #[test]
    fn each_family_has_its_own_addresses() {
        let both = r#"{"Name":"mine","EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd00:1::/64","Gateway":"fd00:1::9",
            "IPRange":"fd00:1::/80","AuxiliaryAddresses":{"a":"fd00:1::5"}},{"Subnet":"10.1.0.0/16"}]}}"#;
        let spec = read(both).unwrap();
        assert_eq!(spec.ipv4.subnet.unwrap().to_string(), "10.1.0.0/16");
        let ipv6 = spec.ipv6.unwrap();
        assert_eq!((ipv6.subnet.unwrap().to_string(), ipv6.range.unwrap().prefix()), ("fd00:1::/64".into(), 80));
        assert_eq!((ipv6.gateway, ipv6.reserved["a"]), ("fd00:1::9".parse().ok(), "fd00:1::5".parse().unwrap()));
        let chosen = read(r#"{"Name":"x","EnableIPv6":true}"#).unwrap();
        assert_eq!((chosen.ipv4, chosen.ipv6), (IpamWish::default(), Some(IpamWish::default())));
    }

    #[test]
    fn what_a_network_cannot_have_is_named() {
        for (json, field) in [
            (r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"fd00:1::/64"}]}}"#, "EnableIPv6"),
            (
                r#"{"Name":"x","EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd00:1::/64"},{"Subnet":"fd00:2::/64"}]}}"#,
                "IPAM.Config",
            ),
            (r#"{"Name":"x","EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd00:1::1/64"}]}}"#, "IPAM.Config.Subnet"),
            (
                r#"{"Name":"x","EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"fd00:1::/64","Gateway":"10.0.0.1"}]}}"#,
                "IPAM.Config.Gateway",
            ),
            (r#"{"Name":"x","EnableIPv4":false}"#, "EnableIPv4"),
            (r#"{"Name":"x","ConfigOnly":true}"#, "ConfigOnly"),
            (r#"{"Name":"x","ConfigFrom":{"Network":"y"}}"#, "ConfigFrom"),
            (r#"{"Name":"x","Ingress":true}"#, "Ingress"),
            (r#"{"Name":"x","Scope":"swarm"}"#, "Scope"),
            (r#"{"Name":"x","IPAM":{"Driver":"other"}}"#, "IPAM.Driver"),
            (r#"{"Name":"x","IPAM":{"Options":{"a":"b"}}}"#, "IPAM.Options"),
            (r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"10.1.0.0/16"},{"Subnet":"10.2.0.0/16"}]}}"#, "IPAM.Config"),
            (r#"{"Name":"x","IPAM":{"Config":[{"Subnet":"ten"}]}}"#, "IPAM.Config.Subnet"),
            (r#"{"Name":"x","IPAM":{"Config":[{"Gateway":"here"}]}}"#, "IPAM.Config.Gateway"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(field), "{json}: {error}");
        }
    }
}
