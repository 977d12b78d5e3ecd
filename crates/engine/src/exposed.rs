// SPDX-License-Identifier: Apache-2.0
//! Exposed ports: those that an image or a user says are listened on.

use network::{PortMapping, Protocol};

use crate::error::EngineError;

/// The image's ports and the user's, each once.
pub(crate) fn merge(of_image: &[String], of_user: &[String]) -> Vec<String> {
    let mut ports = of_image.to_vec();
    for port in of_user {
        if !ports.contains(port) {
            ports.push(port.clone());
        }
    }
    ports
}

/// The port that `80/tcp` names; without a protocol it is TCP.
pub(crate) fn parse(text: &str) -> Result<(u16, Protocol), EngineError> {
    let invalid = || EngineError::invalid("--expose", format!("{text:?} is no port"));
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(invalid()),
    };
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
    Ok((port, protocol))
}

/// Adds those exposed ports that are not published yet, for any address and any port of the host.
pub(crate) fn publish_all(ports: &mut Vec<PortMapping>, exposed: &[String]) -> Result<(), EngineError> {
    for text in exposed {
        let (container_port, protocol) = parse(text)?;
        if !ports.iter().any(|port| port.container_port == container_port && port.protocol == protocol) {
            ports.push(PortMapping { host_ip: None, host_port: None, host_port_last: None, container_port, protocol });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exposed_port_is_published_once() {
        let exposed = merge(&["80/tcp".into(), "53/udp".into()], &["80/tcp".into(), "81".into()]);
        assert_eq!(exposed, ["80/tcp", "53/udp", "81"]);
        let own = PortMapping {
            host_ip: None,
            host_port: Some(8080),
            host_port_last: None,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let mut ports = vec![own];
        publish_all(&mut ports, &exposed).unwrap();
        let all: Vec<(u16, Protocol, Option<u16>)> =
            ports.iter().map(|port| (port.container_port, port.protocol, port.host_port)).collect();
        assert_eq!(all, [(80, Protocol::Tcp, Some(8080)), (53, Protocol::Udp, None), (81, Protocol::Tcp, None)]);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["", "0", "80/sctp", "x", "80/", "70000"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
