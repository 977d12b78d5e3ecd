// SPDX-License-Identifier: Apache-2.0
//! What older clients write in another way than newer ones when they wish for a container.

use api_types::Wish;
use api_types::docker::ContainerCreateBody;
use engine::{ContainerSpec, NetworkMode};
use network::MacAddress;

use super::{labels, to_spec};
use crate::error::ApiError;
use crate::version::Version;

/// The version whose clients name the network that a hardware address is for, and may still leave that out.
const MAC_OF_A_NETWORK: u32 = 44;
/// The version whose clients must name it, and learn what a port without bindings means.
const STRICT: u32 = 52;

/// The container that a client of `version` asks for, and what it should know although it is made.
pub(crate) fn container(
    version: Version,
    body: Wish<ContainerCreateBody>,
    name: Option<String>,
) -> Result<(ContainerSpec, Vec<String>), ApiError> {
    let mac = body.mac.clone().filter(|text| !text.is_empty());
    let unbound = if version.is_before(STRICT) { Vec::new() } else { ports_without_bindings(&body.docker) };
    let mut spec = labels::apply(to_spec::container(body, name)?)?;
    let mut warnings = Vec::new();
    if let Some(mac) = mac {
        warnings.extend(give(&mac, version, &mut spec)?);
    }
    if !unbound.is_empty() {
        let ports = unbound.join(", ");
        warnings.push(format!(
            "PortBindings has no binding for {ports}: any port of the host is taken, which a future version of the API \
             will not do"
        ));
    }
    Ok((spec, warnings))
}

fn ports_without_bindings(body: &ContainerCreateBody) -> Vec<String> {
    let bindings = body.host_config.as_ref().and_then(|host| host.port_bindings.as_ref());
    let unbound = bindings.into_iter().flatten().filter(|(_, list)| list.as_ref().is_none_or(Vec::is_empty));
    let mut ports: Vec<String> = unbound.map(|(port, _)| port.clone()).collect();
    ports.sort();
    ports
}

/// Gives the container this address in the network that it is created in; a warning where it should have been asked for
/// otherwise.
fn give(mac: &str, version: Version, spec: &mut ContainerSpec) -> Result<Option<String>, ApiError> {
    let field = "MacAddress";
    if !version.has_what_went_with(STRICT) {
        let reason =
            "an address for the container as a whole; NetworkingConfig.EndpointsConfig has one for each network";
        return Err(ApiError::invalid(field, format!("since version 1.52 of the API there is no more {reason}")));
    }
    let address: MacAddress = mac.parse().map_err(|error| ApiError::invalid(field, format!("{error}")))?;
    let network = match &spec.network {
        NetworkMode::Bridge => "bridge".to_owned(),
        NetworkMode::User(name) => name.clone(),
        other => {
            let mode = other.docker();
            return Err(ApiError::invalid(
                field,
                format!("in the network mode {mode} a container has no interface of its own"),
            ));
        }
    };
    let is_old = version.is_before(MAC_OF_A_NETWORK);
    // One network may be named in several ways; older clients name one alone.
    let only = spec.endpoints.keys().next().filter(|_| is_old).cloned();
    let named = only.unwrap_or_else(|| network.clone());
    if !spec.endpoints.is_empty() && !spec.endpoints.contains_key(&named) {
        let reason =
            format!("it is not clear for which network: NetworkMode is {network}, which EndpointsConfig lacks");
        return Err(ApiError::invalid(field, reason));
    }
    let wish = spec.endpoints.entry(named).or_default();
    if !is_old && wish.mac.is_some_and(|own| own != address) {
        return Err(ApiError::invalid(
            field,
            format!("{mac} is not what EndpointsConfig has for the network {network}"),
        ));
    }
    wish.mac = Some(address);
    let advice = format!("MacAddress is deprecated: give it as NetworkingConfig.EndpointsConfig.{network}.MacAddress");
    Ok((!is_old).then_some(advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(version: Version, json: &str) -> Result<(ContainerSpec, Vec<String>), ApiError> {
        container(version, serde_json::from_str(json).unwrap(), None)
    }

    fn mac(version: Version, json: &str, network: &str) -> Option<String> {
        let (spec, _) = asked(version, json).unwrap();
        spec.endpoints.get(network).and_then(|wish| wish.mac).map(|mac| mac.to_string())
    }

    const MAC: &str = "02:42:00:00:00:07";

    #[test]
    fn an_address_for_the_container_is_one_for_its_first_network() {
        let plain = r#"{"Image":"x","MacAddress":"02:42:00:00:00:07"}"#;
        let mine = r#"{"Image":"x","MacAddress":"02:42:00:00:00:07","HostConfig":{"NetworkMode":"mine"},
            "NetworkingConfig":{"EndpointsConfig":{"mine":{"Aliases":["a"]}}}}"#;
        for version in [Version::of(24), Version::of(43), Version::of(51), Version::UNNAMED] {
            assert_eq!(mac(version, plain, "bridge").as_deref(), Some(MAC));
            assert_eq!(mac(version, mine, "mine").as_deref(), Some(MAC));
        }
        assert!(asked(Version::of(43), plain).unwrap().1.is_empty());
        assert!(asked(Version::of(44), plain).unwrap().1[0].contains("EndpointsConfig.bridge.MacAddress"));
        assert!(asked(Version::of(52), plain).unwrap_err().to_string().contains("1.52"));
        assert!(asked(Version::of(52), r#"{"Image":"x","MacAddress":""}"#).is_ok());
    }

    #[test]
    fn an_address_that_cannot_be_given_is_refused() {
        for (json, words) in [
            (r#"{"Image":"x","MacAddress":"x"}"#, "MacAddress"),
            (r#"{"Image":"x","MacAddress":"02:42:00:00:00:07","HostConfig":{"NetworkMode":"host"}}"#, "host"),
            (
                r#"{"Image":"x","MacAddress":"02:42:00:00:00:07","HostConfig":{"NetworkMode":"mine"},
                "NetworkingConfig":{"EndpointsConfig":{"other":{}}}}"#,
                "mine",
            ),
            (
                r#"{"Image":"x","MacAddress":"02:42:00:00:00:07",
                "NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:00:00:00:08"}}}}"#,
                "EndpointsConfig",
            ),
        ] {
            let error = asked(Version::of(51), json).unwrap_err().to_string();
            assert!(error.starts_with("MacAddress: ") && error.contains(words), "{json}: {error}");
        }
        // Before 1.44 the container's address went first.
        let both = r#"{"Image":"x","MacAddress":"02:42:00:00:00:07",
            "NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:00:00:00:08"}}}}"#;
        assert_eq!(mac(Version::of(43), both, "bridge").as_deref(), Some(MAC));
    }

    #[test]
    fn a_port_without_a_binding_is_published_and_warned_of_since_1_52() {
        let json =
            r#"{"Image":"x","HostConfig":{"PortBindings":{"80/tcp":[],"81/tcp":null,"82/tcp":[{"HostPort":"1"}]}}}"#;
        let (spec, warnings) = asked(Version::of(52), json).unwrap();
        assert_eq!(spec.ports.len(), 3);
        assert!(warnings[0].contains("80/tcp, 81/tcp:"), "{warnings:?}");
        assert!(asked(Version::of(51), json).unwrap().1.is_empty());
    }
}
