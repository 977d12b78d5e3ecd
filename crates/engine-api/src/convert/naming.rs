// SPDX-License-Identifier: Apache-2.0
//! Docker's wishes about names, in the engine's words and back.

use std::net::IpAddr;

use api_types::docker::HostConfig;
use engine::{ExtraHost, HostAddress, Naming};

use crate::error::ApiError;

/// Docker's word for the address by which a container reaches its host.
const GATEWAY: &str = "host-gateway";

/// What is wished of names.
pub(crate) fn naming(host: &HostConfig) -> Result<Naming, ApiError> {
    let server = |text: &String| {
        text.parse::<IpAddr>().map_err(|_| ApiError::invalid("Dns", format!("\"{text}\" is no IP address")))
    };
    let list = |field: &Option<Vec<String>>| -> Vec<String> {
        field.iter().flatten().filter(|text| !text.is_empty()).cloned().collect()
    };
    Ok(Naming {
        servers: host.dns.iter().flatten().map(server).collect::<Result<_, _>>()?,
        search: list(&host.dns_search),
        options: list(&host.dns_options),
        hosts: host.extra_hosts.iter().flatten().map(|text| extra_host(text)).collect::<Result<_, _>>()?,
    })
}

/// `NAME:ADDRESS`; an IPv6 address may stand in brackets.
fn extra_host(text: &str) -> Result<ExtraHost, ApiError> {
    let invalid = || ApiError::invalid("ExtraHosts", format!("\"{text}\" is not NAME:ADDRESS"));
    let (name, address) = text.split_once(':').ok_or_else(invalid)?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address = match bare {
        GATEWAY => HostAddress::Gateway,
        address => HostAddress::Is(address.parse().map_err(|_| invalid())?),
    };
    Ok(ExtraHost { name: name.to_owned(), address })
}

/// Writes them into what `inspect` shows.
pub(crate) fn show(naming: &Naming, host: &mut HostConfig) {
    let extra = naming.hosts.iter().map(|host| match host.address {
        HostAddress::Is(address) => format!("{}:{address}", host.name),
        HostAddress::Gateway => format!("{}:{GATEWAY}", host.name),
    });
    host.dns = Some(naming.servers.iter().map(ToString::to_string).collect());
    host.dns_search = Some(naming.search.clone());
    host.dns_options = Some(naming.options.clone());
    host.extra_hosts = Some(extra.collect::<Vec<String>>()).filter(|list| !list.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_shown_again() {
        let host = HostConfig {
            dns: Some(vec!["10.0.0.1".into()]),
            dns_search: Some(vec!["a.b".into()]),
            dns_options: Some(vec!["ndots:2".into()]),
            extra_hosts: Some(vec!["db:10.1.1.1".into(), "up:host-gateway".into(), "six:::1".into()]),
            ..HostConfig::default()
        };
        let mut shown = HostConfig::default();
        show(&naming(&host).unwrap(), &mut shown);
        assert_eq!(shown, host);
        assert_eq!(naming(&HostConfig::default()).unwrap(), Naming::default());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (servers, hosts) in [(Some("one"), None), (None, Some("db")), (None, Some("db:one")), (None, Some("db:"))] {
            let list = |text: Option<&str>| text.map(|text| vec![text.to_owned()]);
            let host = HostConfig { dns: list(servers), extra_hosts: list(hosts), ..HostConfig::default() };
            assert!(naming(&host).is_err(), "{servers:?} {hosts:?}");
        }
    }
}
