// SPDX-License-Identifier: Apache-2.0
//! Other published ports for a container, while it runs or not.

use std::ops::RangeInclusive;
use std::sync::Arc;

use network::{Endpoint, PortMapping, PublishedPort};

use super::sandbox::{again, gateway};
use crate::container::{Container, State};
use crate::error::EngineError;
use crate::{Engine, create};

/// What shall be published of a container beside what is, and what no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortChanges {
    /// New ones.
    pub publish: Vec<PortMapping>,
    /// Those to end: each that fits, by the container's port and protocol and, where they are said, the host's port and
    /// address.
    pub withdraw: Vec<PortMapping>,
}

impl Engine {
    /// Changes which ports of a container are published. All of it or nothing; connections to ports that stay are not
    /// touched. Durable when this returns.
    ///
    /// # Errors
    /// No such container; one without a network of its own; a port to end that is not published; one to publish that is
    /// taken.
    pub async fn change_ports(self: &Arc<Self>, name: &str, changes: PortChanges) -> Result<(), EngineError> {
        let container = self.container(name)?;
        let turn = Arc::clone(&container.lifecycle).lock_owned().await;
        // A removal may have come first.
        self.container(container.id.as_str())?;
        let engine = Arc::clone(self);
        self.blocking("change published ports", move || {
            let _turn = turn;
            engine.change_ports_blocking(&container, &changes)
        })
        .await
    }

    fn change_ports_blocking(&self, container: &Container, changes: &PortChanges) -> Result<(), EngineError> {
        let record = container.record();
        let endpoints = record.state.running().map_or(&[][..], |running| &running.endpoints);
        let through = gateway(&record.attachments(), endpoints).and_then(|at| endpoints.get(at)).cloned();
        let published = through.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
        let (kept, ended) = parted(&record.spec.ports, published, &changes.withdraw)?;
        let mut wanted = record.spec.clone();
        wanted.ports = [kept, changes.publish.clone()].concat();
        create::validate(&wanted)?;
        let Some(mut endpoint) = through else {
            return self.keep_ports(container, &wanted.ports, None).inspect_err(|_| {
                container.update(|now| now.spec.ports.clone_from(&record.spec.ports));
            });
        };
        self.network.exchange(&mut endpoint, &ended, &changes.publish)?;
        self.keep_ports(container, &wanted.ports, Some(&endpoint)).inspect_err(|_| {
            let new = endpoint.ports.split_off(endpoint.ports.len().saturating_sub(changes.publish.len()));
            let old: Vec<PortMapping> = ended.iter().map(|port| again(port, None)).collect();
            if let Err(error) = self.network.exchange(&mut endpoint, &new, &old) {
                tracing::error!(container = %container.id, error = errors::chain(&error), "cannot take a change of ports back");
            }
            set_ports(container, &record.spec.ports, Some(&endpoint));
        })?;
        container.tell("update", []);
        Ok(())
    }

    fn keep_ports(
        &self,
        container: &Container,
        ports: &[PortMapping],
        endpoint: Option<&Endpoint>,
    ) -> Result<(), EngineError> {
        set_ports(container, ports, endpoint);
        self.keep(container)
    }
}

fn set_ports(container: &Container, ports: &[PortMapping], endpoint: Option<&Endpoint>) {
    container.update(|record| {
        record.spec.ports = ports.to_vec();
        if let (State::Running(running), Some(endpoint)) = (&mut record.state, endpoint)
            && let Some(known) = running.endpoints.iter_mut().find(|known| known.network == endpoint.network)
        {
            known.ports.clone_from(&endpoint.ports);
        }
    });
}

/// The wishes that stay, and what of the published ports ends. Wishes and ports stand in the same order.
fn parted(
    wishes: &[PortMapping],
    published: &[PublishedPort],
    ending: &[PortMapping],
) -> Result<(Vec<PortMapping>, Vec<PublishedPort>), EngineError> {
    let has_ports = wishes.len() == published.len();
    let port_of = |at: usize| published.get(at).filter(|_| has_ports);
    let range = |wish: &PortMapping| wish.host_port.map(|first| first..=wish.host_port_last.unwrap_or(first));
    let fits = |pattern: &PortMapping, at: usize, wish: &PortMapping| {
        let has_port = |ports: RangeInclusive<u16>| match port_of(at) {
            Some(port) => ports.contains(&port.host_port),
            None => range(wish) == Some(ports),
        };
        (pattern.container_port, pattern.protocol) == (wish.container_port, wish.protocol)
            && range(pattern).is_none_or(has_port)
            && (pattern.host_ip.is_none() || pattern.host_ip == wish.host_ip)
    };
    for pattern in ending {
        if !wishes.iter().enumerate().any(|(at, wish)| fits(pattern, at, wish)) {
            let host = pattern.host_ports().map(|ports| format!("{ports}:")).unwrap_or_default();
            let reason = format!("{host}{}/{} is not published", pattern.container_port, pattern.protocol);
            return Err(EngineError::invalid("--unpublish", reason));
        }
    }
    let (mut kept, mut ended) = (Vec::new(), Vec::new());
    for (at, wish) in wishes.iter().enumerate() {
        if ending.iter().any(|pattern| fits(pattern, at, wish)) {
            ended.extend(port_of(at).cloned());
        } else {
            kept.push(wish.clone());
        }
    }
    Ok((kept, ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use network::Protocol;

    fn wish(host_port: Option<u16>, container_port: u16) -> PortMapping {
        PortMapping { host_ip: None, host_port, host_port_last: None, container_port, protocol: Protocol::Tcp }
    }

    fn port(host_port: u16, container_port: u16) -> PublishedPort {
        PublishedPort { host_ip: None, ipv6: false, host_port, container_port, protocol: Protocol::Tcp }
    }

    #[test]
    fn what_ends_is_named_by_either_port() {
        let wishes = [wish(Some(8080), 80), wish(None, 80), wish(None, 81)];
        let published = [port(8080, 80), port(32_768, 80), port(32_769, 81)];
        let ended = |pattern| parted(&wishes, &published, &[pattern]).map(|(kept, ended)| (kept.len(), ended));
        assert_eq!(ended(wish(None, 81)).unwrap(), (2, vec![port(32_769, 81)]));
        assert_eq!(ended(wish(Some(32_768), 80)).unwrap(), (2, vec![port(32_768, 80)]), "one that was chosen");
        assert_eq!(ended(wish(None, 80)).unwrap(), (1, vec![port(8080, 80), port(32_768, 80)]));
        assert!(ended(wish(Some(8081), 80)).unwrap_err().to_string().contains("8081:80/tcp"));
        let udp = PortMapping { protocol: Protocol::Udp, ..wish(None, 80) };
        assert!(ended(udp).is_err());
        let range = PortMapping { host_port_last: Some(32_770), ..wish(Some(32_760), 80) };
        assert_eq!(ended(range.clone()).unwrap(), (2, vec![port(32_768, 80)]), "one of these");
        let not_there = parted(&wishes, &[], &[range]).unwrap_err().to_string();
        assert!(not_there.contains("32760-32770:80/tcp"), "{not_there}");
        let stopped = parted(&wishes, &[], &[wish(Some(8080), 80)]).unwrap();
        assert_eq!((stopped.0.len(), stopped.1), (2, vec![]));
    }
}
