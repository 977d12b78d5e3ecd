// SPDX-License-Identifier: Apache-2.0
//! Published ports: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, where both ports may be ranges of the same length.

use std::net::IpAddr;

use api_types::docker::{PortBinding, PortMap};

use super::FlagError;

/// Add what `text` publishes to `map`.
pub(crate) fn publish(text: &str, map: &mut PortMap) -> Result<(), FlagError> {
    let invalid = |problem| FlagError::invalid(text, problem);
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp") {
        return Err(invalid("publishes neither tcp nor udp"));
    }
    let (before, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, host) = split_host(before).map_err(invalid)?;
    let container = range(container).ok_or_else(|| invalid("is no port to publish: write HOST:CONTAINER"))?;
    let host = match host {
        // As everywhere, 0 is any that is free.
        "" | "0" => None,
        host => Some(range(host).ok_or_else(|| invalid("has no port of the host before the last :"))?),
    };
    let length = container.1 - container.0;
    // One port may take any free one of a range; Docker leaves that choice to the daemon as "FROM-TO".
    let any_of = length == 0 && host.is_some_and(|(from, to)| from != to);
    if host.is_some_and(|(from, to)| to - from != length) && !any_of {
        return Err(invalid("has ranges of different lengths"));
    }
    for offset in 0..=length {
        let host_port = match host {
            None => String::new(),
            Some((from, to)) if any_of => format!("{from}-{to}"),
            Some((from, _)) => (from + offset).to_string(),
        };
        let binding = PortBinding { host_ip: address.map(|ip| ip.to_string()), host_port: Some(host_port) };
        let key = format!("{}/{protocol}", container.0 + offset);
        map.entry(key).or_default().get_or_insert_default().push(binding);
    }
    Ok(())
}

/// The ports that `text` exposes: `PORT[-PORT][/PROTOCOL]`, each with its protocol.
pub(crate) fn expose(text: &str) -> Result<Vec<String>, FlagError> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp") {
        return Err(FlagError::invalid(text, "exposes neither tcp nor udp"));
    }
    let (from, to) = range(ports).ok_or_else(|| FlagError::invalid(text, "is no port: write PORT or FROM-TO"))?;
    Ok((from..=to).map(|port| format!("{port}/{protocol}")).collect())
}

/// The address, which may stand in brackets, and the port before the container's.
fn split_host(before: &str) -> Result<(Option<IpAddr>, &str), &'static str> {
    let (address, host) = match before.rsplit_once(':') {
        // `IP::CONTAINER` lets the daemon choose the port, and so does `[::]` before an end.
        Some((address, host)) => (address, host),
        None => return Ok((None, before)),
    };
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare.is_empty() {
        return Ok((None, host));
    }
    bare.parse().map(|ip| (Some(ip), host)).map_err(|_| "has no IP address before the ports")
}

/// The first and the last port of `FROM[-TO]`.
fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten().filter(|port| *port != 0)
    };
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (port(from)?, port(to)?);
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(text: &str) -> Result<Vec<(String, String, String)>, FlagError> {
        let mut map = PortMap::new();
        publish(text, &mut map)?;
        let mut list: Vec<_> = map
            .into_iter()
            .flat_map(|(key, bindings)| {
                bindings.unwrap_or_default().into_iter().map(move |binding| {
                    (key.clone(), binding.host_ip.unwrap_or_default(), binding.host_port.unwrap_or_default())
                })
            })
            .collect();
        list.sort();
        Ok(list)
    }

    fn one(key: &str, ip: &str, port: &str) -> Vec<(String, String, String)> {
        vec![(key.into(), ip.into(), port.into())]
    }

    #[test]
    fn every_form_that_docker_takes() {
        assert_eq!(published("80").unwrap(), one("80/tcp", "", ""));
        assert_eq!(published("8080:80").unwrap(), one("80/tcp", "", "8080"));
        assert_eq!(published("8080:80/udp").unwrap(), one("80/udp", "", "8080"));
        assert_eq!(published("127.0.0.1:8080:80").unwrap(), one("80/tcp", "127.0.0.1", "8080"));
        assert_eq!(published("127.0.0.1::80").unwrap(), one("80/tcp", "127.0.0.1", ""));
        assert_eq!(published("127.0.0.1:0:80").unwrap(), one("80/tcp", "127.0.0.1", ""));
        assert_eq!(published("[::1]:8080:80").unwrap(), one("80/tcp", "::1", "8080"));
        assert_eq!(published("8000-8010:80").unwrap(), one("80/tcp", "", "8000-8010"));
        let both = published("8000-8001:80-81").unwrap();
        assert_eq!(both, [one("80/tcp", "", "8000"), one("81/tcp", "", "8001")].concat());
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "",
            ":",
            "0",
            "65536",
            "80/icmp",
            "a:80",
            "80:a",
            "1.2.3:80:80",
            "8000-8001:80-82",
            "81-80",
            "+80",
            "80:",
            "localhost:80:80",
            "-80",
        ] {
            assert!(published(text).is_err(), "{text}");
        }
    }
}
