// SPDX-License-Identifier: Apache-2.0
//! Docker's wishes for a container's places in networks, in the engine's words.

use std::collections::BTreeMap;

use api_types::docker::{EndpointSettings, NetworkingConfig};
use engine::{EndpointWish, NetworkMode};
use network::MacAddress;

use crate::error::ApiError;

/// The wishes of a container that is created, by network.
pub(crate) fn wishes(config: Option<&NetworkingConfig>) -> Result<BTreeMap<String, EndpointWish>, ApiError> {
    let mut wishes = BTreeMap::new();
    for (name, settings) in config.and_then(|config| config.endpoints_config.as_ref()).into_iter().flatten() {
        // What Docker's clients call the network of whoever names none.
        let name = if name == "default" { "bridge" } else { name };
        if wishes.insert(name.to_owned(), wish(settings)?).is_some() {
            return Err(ApiError::invalid("NetworkingConfig", format!("the network \"{name}\" is named twice")));
        }
    }
    Ok(wishes)
}

/// One wish. What Docker's own answers have beside it (`EndpointID`, `Gateway`, `IPAddress` …) is no wish.
pub(crate) fn wish(settings: &EndpointSettings) -> Result<EndpointWish, ApiError> {
    let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    if ipam.link_local_ips.is_some_and(|list| !list.is_empty()) {
        return Err(ApiError::Unsupported("IPAMConfig.LinkLocalIPs".to_owned()));
    }
    let address = text(&ipam.ipv4_address).map(|address| {
        let invalid = |_| ApiError::invalid("IPAMConfig.IPv4Address", format!("\"{address}\" is no IPv4 address"));
        address.parse().map_err(invalid)
    });
    let ipv6 = text(&ipam.ipv6_address).map(|address| {
        let invalid = |_| ApiError::invalid("IPAMConfig.IPv6Address", format!("\"{address}\" is no IPv6 address"));
        address.parse().map_err(invalid)
    });
    let mac = text(&settings.mac_address).map(|address| {
        address.parse::<MacAddress>().map_err(|error| ApiError::invalid("MacAddress", error.to_string()))
    });
    Ok(EndpointWish {
        aliases: settings.aliases.clone().unwrap_or_default(),
        address: address.transpose()?,
        ipv6: ipv6.transpose()?,
        mac: mac.transpose()?,
        gw_priority: settings.gw_priority.unwrap_or(0),
        links: settings.links.clone().unwrap_or_default(),
        driver_opts: settings.driver_opts.clone().unwrap_or_default().into_iter().collect(),
    })
}

/// Adds the links that Docker's clients name for the container as a whole to the network that it is in.
pub(crate) fn link(
    links: &[String],
    network: &NetworkMode,
    wishes: &mut BTreeMap<String, EndpointWish>,
) -> Result<(), ApiError> {
    match network {
        _ if links.is_empty() => Ok(()),
        NetworkMode::User(name) => {
            let wish = wishes.entry(name.clone()).or_default();
            let new = links.iter().filter(|link| !wish.links.contains(link)).cloned().collect::<Vec<_>>();
            wish.links.extend(new);
            Ok(())
        }
        _ => {
            let reason = "HostConfig.Links without a user-defined network, where containers find each other by name,";
            Err(ApiError::Unsupported(reason.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<BTreeMap<String, EndpointWish>, ApiError> {
        wishes(Some(&serde_json::from_str(json).unwrap()))
    }

    #[test]
    fn wishes_are_read_by_network() {
        let wishes = parsed(
            r#"{"EndpointsConfig":{"default":{},"back":{"Aliases":["db"],"Links":["a:b"],"GwPriority":3,
            "MacAddress":"02:42:00:00:00:01","IPAMConfig":{"IPv4Address":"10.1.0.9","IPv6Address":"fd00::9"},"EndpointID":"ignored"}}}"#,
        )
        .unwrap();
        assert_eq!(wishes["bridge"], EndpointWish::default());
        let back = &wishes["back"];
        assert_eq!((back.aliases[0].as_str(), back.links[0].as_str(), back.gw_priority), ("db", "a:b", 3));
        assert_eq!(back.address, Some([10, 1, 0, 9].into()));
        assert_eq!(back.ipv6, "fd00::9".parse().ok());
        assert_eq!(back.mac.map(|mac| mac.to_string()).as_deref(), Some("02:42:00:00:00:01"));
    }

    #[test]
    fn what_is_not_granted_is_named() {
        for (settings, named) in [
            (r#"{"IPAMConfig":{"IPv6Address":"10.1.0.9"}}"#, "IPv6Address"),
            (r#"{"IPAMConfig":{"LinkLocalIPs":["169.254.0.1"]}}"#, "LinkLocalIPs"),
            (r#"{"IPAMConfig":{"IPv4Address":"10.1"}}"#, "IPv4Address"),
            (r#"{"MacAddress":"ff:ff:ff:ff:ff:ff"}"#, "MacAddress"),
        ] {
            let error = parsed(&format!(r#"{{"EndpointsConfig":{{"x":{settings}}}}}"#)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
