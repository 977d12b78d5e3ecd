// SPDX-License-Identifier: Apache-2.0
//! A container's network namespace: made for a start, entered while it runs, and what it is left with at the end.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use network::{Endpoint, Join, NetworkId, PortMapping, PublishedPort, Sandbox};
use oci::ContainerId;

use super::BRIDGE;
use super::attachment::{Attachment, EndpointWish};
use crate::Engine;
use crate::container::{Container, Record, Running, State};
use crate::error::EngineError;
use crate::request::NetworkMode;
use crate::signal::pidfd;

/// A namespace for a container about to start, with its places in networks; no namespace where it has none of its own.
pub(crate) type Joined = (Option<OwnedFd>, Vec<Endpoint>);

impl Engine {
    /// Gives a container that is about to start a network namespace, with a place in each of its networks.
    ///
    /// # Errors
    /// A network that is gone, an address or a port that is taken. Nothing is left behind then.
    ///
    /// `own`: a namespace that belongs to the container's user namespace. What is prepared belongs to the host's, where its
    /// root would have no rights.
    pub(crate) fn join_networks(&self, record: &Record, own: Option<OwnedFd>) -> Result<Joined, EngineError> {
        if let Some(own) = own {
            return self.join_networks_in(record, self.network.isolated_in(own)?);
        }
        match (&record.spec.network, record.attachments.as_deref()) {
            (NetworkMode::Host, _) => Ok((None, Vec::new())),
            (NetworkMode::Container(owner), _) => Ok((Some(self.namespace_of_other(owner)?), Vec::new())),
            (NetworkMode::Bridge, None) => {
                let (namespace, endpoint) = self.network.attach(&record.id, &record.spec.ports)?;
                Ok((Some(namespace), vec![endpoint]))
            }
            (_, None) => Ok((Some(self.network.isolated()?), Vec::new())),
            (_, Some(_)) => self.join_networks_in(record, self.network.isolated()?),
        }
    }

    /// The same in a namespace that has nothing but its loopback.
    fn join_networks_in(&self, record: &Record, namespace: OwnedFd) -> Result<Joined, EngineError> {
        let usual =
            [Attachment { network: NetworkId::bridge(), name: BRIDGE.to_owned(), wish: EndpointWish::default() }];
        let attachments = match (&record.spec.network, record.attachments.as_deref()) {
            (_, Some(attachments)) => attachments,
            (NetworkMode::Bridge, None) => &usual[..],
            (_, None) => return Ok((Some(namespace), Vec::new())),
        };
        let mut sandbox = Sandbox::open(namespace)?;
        let mut endpoints = Vec::with_capacity(attachments.len());
        let joined = self.join_each(record, &mut sandbox, attachments, &mut endpoints);
        let namespace = sandbox.into_descriptor();
        match joined.and_then(|()| self.begin_names(record, &endpoints, &namespace, false)) {
            Ok(()) => Ok((Some(namespace), endpoints)),
            Err(error) => {
                self.release_networks(&endpoints);
                Err(error)
            }
        }
    }

    fn join_each(
        &self,
        record: &Record,
        sandbox: &mut Sandbox,
        attachments: &[Attachment],
        endpoints: &mut Vec<Endpoint>,
    ) -> Result<(), EngineError> {
        for attachment in attachments.iter().filter(|one| one.network != NetworkId::none()) {
            endpoints.push(self.join(&record.id, sandbox, attachment)?);
        }
        self.settle_gateway(sandbox, record, attachments, endpoints, &record.spec.ports)
    }

    /// A place in one network, for a container that is there or comes.
    pub(super) fn join(
        &self,
        container: &ContainerId,
        sandbox: &mut Sandbox,
        attachment: &Attachment,
    ) -> Result<Endpoint, EngineError> {
        let Attachment { network, name, wish } = attachment;
        let EndpointWish { address, ipv6, mac, .. } = wish;
        if self.network_by_id(network).is_none() {
            return Err(EngineError::NoSuchNetwork(format!("{name} ({})", network.short())));
        }
        let join = Join { container, network, address: *address, ipv6: *ipv6, mac: mac.map(|mac| mac.0) };
        Ok(self.network.join(sandbox, &join)?)
    }

    /// Sees to it that the default route and the published ports are where they belong, and nowhere else: in the network
    /// that leads outside and has the highest priority, of equals the first by name. Where they are held back they stay so.
    /// By IPv6, the default route leads through the first of these that has an IPv6 address. Called again, it changes nothing.
    pub(super) fn settle_gateway(
        &self,
        sandbox: &mut Sandbox,
        record: &Record,
        attachments: &[Attachment],
        endpoints: &mut [Endpoint],
        ports: &[PortMapping],
    ) -> Result<(), EngineError> {
        if let Some(at) = ipv6_gateway(attachments, endpoints)
            && let Some(endpoint) = endpoints.get(at)
        {
            sandbox.set_ipv6_default_route(endpoint)?;
        }
        let gateway = gateway(attachments, endpoints);
        sandbox.set_default_route(gateway.and_then(|at| endpoints.get(at)))?;
        let Some(at) = gateway else {
            for endpoint in endpoints.iter_mut() {
                self.network.withdraw(endpoint)?;
            }
            return Ok(());
        };
        let mut wanted = ports.to_vec();
        for (other, endpoint) in endpoints.iter_mut().enumerate() {
            if other != at && !endpoint.ports.is_empty() {
                // Those that the kernel chose stay what they were.
                wanted = endpoint.ports.iter().enumerate().map(|(at, port)| again(port, ports.get(at))).collect();
                self.network.withdraw(endpoint)?;
            }
        }
        match endpoints.get_mut(at) {
            Some(endpoint) if endpoint.ports.is_empty() => {
                Ok(self.network.publish(endpoint, &wanted, record.holds_ports_back())?)
            }
            _ => Ok(()),
        }
    }

    /// The namespace of the container whose network another one shares.
    fn namespace_of_other(&self, owner: &str) -> Result<OwnedFd, EngineError> {
        let other = self.container(owner)?;
        let (name, running) = other.with_record(|record| (record.name.clone(), record.state.running().cloned()));
        let namespace = running.map(|running| namespace_of(&running)).transpose()?.flatten();
        let status = other.with_record(|record| record.state.status());
        namespace.ok_or(EngineError::WrongState { name, status, verb: "share the network of" })
    }

    /// The container whose network a container shares, and with it the files of `/etc` and the host name; `None` for one
    /// that has its own.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn network_owner(&self, record: &Record) -> Result<Option<Arc<Container>>, EngineError> {
        let mut owner = None;
        let mut mode = record.spec.network.clone();
        // Each is older than the one that names it: this ends.
        while let NetworkMode::Container(id) = mode {
            let other = self.container(&id)?;
            mode = other.with_record(|record| record.spec.network.clone());
            owner = Some(other);
        }
        Ok(owner)
    }

    /// Tells of the places that a container has got, or had.
    pub(crate) fn tell_of_places(&self, action: &'static str, container: &ContainerId, endpoints: &[Endpoint]) {
        endpoints.iter().for_each(|endpoint| self.tell_of_place(action, container, &endpoint.network));
    }

    fn tell_of_place(&self, action: &'static str, container: &ContainerId, network: &NetworkId) {
        if *network == NetworkId::bridge() {
            self.events.tell_of_place(action, network, BRIDGE, BRIDGE, Some(container));
        } else if let Some(network) = self.network_by_id(network) {
            self.events.tell_of_network(action, &network, Some(container));
        }
    }

    /// Tells that a container that did not start has left its places, and releases them.
    pub(crate) fn give_networks_back(&self, container: &ContainerId, endpoints: &[Endpoint]) {
        self.tell_of_places("disconnect", container, endpoints);
        self.release_networks(endpoints);
    }

    /// Releases places whose container did not start, or has ended.
    pub(crate) fn release_networks(&self, endpoints: &[Endpoint]) {
        for endpoint in endpoints {
            if let Err(error) = self.network.release(endpoint) {
                tracing::error!(address = %endpoint.address, error = errors::chain(&error), "cannot release an address");
            }
        }
    }

    /// What becomes of a container's places at its end. Its namespace goes with its last process, and with it the
    /// interfaces; unless another container shares it: then they are taken out, before anybody else gets the addresses.
    pub(crate) fn leave_networks(self: &Arc<Self>, container: &Container, endpoints: Vec<Endpoint>) {
        self.end_names(&container.id);
        self.tell_of_places("disconnect", &container.id, &endpoints);
        if endpoints.is_empty() || !self.is_shared(&container.id) {
            self.release_networks(&endpoints);
            return;
        }
        let engine = Arc::clone(self);
        self.in_background("leave networks", move || {
            for endpoint in &endpoints {
                if let Err(error) = engine.network.leave(endpoint) {
                    tracing::error!(address = %endpoint.address, error = errors::chain(&error), "cannot release an address");
                }
            }
        });
    }

    fn is_shared(&self, owner: &ContainerId) -> bool {
        let registry = self.registry();
        registry.by_id.values().any(|container| {
            container.with_record(|record| {
                let shares = matches!(&record.spec.network, NetworkMode::Container(id) if id == owner.as_str());
                shares && matches!(record.state, State::Running(_))
            })
        })
    }
}

/// Through which of the endpoints the default route leads.
pub(super) fn gateway(attachments: &[Attachment], endpoints: &[Endpoint]) -> Option<usize> {
    best(attachments, endpoints, |endpoint| endpoint.gateway.is_some())
}

/// The same in IPv6.
fn ipv6_gateway(attachments: &[Attachment], endpoints: &[Endpoint]) -> Option<usize> {
    best(attachments, endpoints, |endpoint| endpoint.ipv6.is_some_and(|ipv6| ipv6.gateway.is_some()))
}

fn best(attachments: &[Attachment], endpoints: &[Endpoint], fits: impl Fn(&Endpoint) -> bool) -> Option<usize> {
    let attachment = |endpoint: &Endpoint| attachments.iter().find(|one| one.network == endpoint.network);
    let candidates = endpoints.iter().enumerate().filter(|(_, endpoint)| fits(endpoint));
    let best = candidates.min_by_key(|(_, endpoint)| {
        let attachment = attachment(endpoint);
        let priority = attachment.map_or(0, |one| one.wish.gw_priority);
        (std::cmp::Reverse(priority), attachment.map(|one| one.name.clone()))
    });
    best.map(|(at, _)| at)
}

/// The wish for a port that is published already: for the number that it has, on the addresses that were wished for.
pub(super) fn again(port: &PublishedPort, wish: Option<&PortMapping>) -> PortMapping {
    let fits = |wish: &&PortMapping| (wish.container_port, wish.protocol) == (port.container_port, port.protocol);
    let everywhere = port.ipv6 || wish.filter(fits).is_some_and(|wish| wish.host_ip.is_none());
    PortMapping {
        host_ip: port.host_ip.or((!everywhere).then_some(Ipv4Addr::UNSPECIFIED.into())),
        host_port: Some(port.host_port),
        host_port_last: None,
        container_port: port.container_port,
        protocol: port.protocol,
    }
}

/// A running container's network namespace; `None` when it has just ended.
pub(crate) fn namespace_of(running: &Running) -> Result<Option<OwnedFd>, EngineError> {
    let path = format!("/proc/{}/ns/net", running.pid);
    let namespace = File::open(&path);
    // If it is still the process it was, what was opened before is its own, too.
    if pidfd(running)?.is_none() {
        return Ok(None);
    }
    Ok(Some(namespace.map_err(EngineError::io("open", path))?.into()))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use network::{Ipv6Endpoint, Protocol};

    use super::*;

    fn place(number: u8, name: &str, gw_priority: i64, leads_out: bool) -> (Attachment, Endpoint) {
        let network = NetworkId::from_random([number; 32]);
        let wish = EndpointWish { gw_priority, ..EndpointWish::default() };
        let endpoint = Endpoint {
            network: network.clone(),
            interface: format!("eth{number}"),
            address: [10, 0, number, 2].into(),
            prefix: 24,
            gateway: leads_out.then(|| [10, 0, number, 1].into()),
            ipv6: None,
            mac: [2; 6],
            host_interface: format!("vethc{number}"),
            ports: Vec::new(),
        };
        (Attachment { network, name: name.to_owned(), wish }, endpoint)
    }

    #[test]
    fn the_default_route_leads_through_the_highest_priority_then_the_first_name() {
        let chosen = |places: Vec<(Attachment, Endpoint)>| {
            let (attachments, endpoints): (Vec<_>, Vec<_>) = places.into_iter().unzip();
            gateway(&attachments, &endpoints)
        };
        assert_eq!(chosen(vec![]), None);
        assert_eq!(chosen(vec![place(0, "inside", 9, false)]), None, "an internal network leads nowhere");
        assert_eq!(chosen(vec![place(0, "b", 0, true), place(1, "a", 0, true)]), Some(1));
        assert_eq!(chosen(vec![place(0, "b", 1, true), place(1, "a", 0, true)]), Some(0));
        assert_eq!(chosen(vec![place(0, "b", -1, true), place(1, "a", -2, true), place(2, "c", 5, false)]), Some(0));
    }

    #[test]
    fn the_ipv6_route_leads_through_the_first_that_has_ipv6() {
        let with_ipv6 = |place: (Attachment, Endpoint), leads_out: bool| {
            let gateway = leads_out.then_some(Ipv6Addr::LOCALHOST);
            let ipv6 = Ipv6Endpoint { address: Ipv6Addr::UNSPECIFIED, prefix: 64, gateway };
            (place.0, Endpoint { ipv6: Some(ipv6), ..place.1 })
        };
        let places = [
            place(0, "a", 0, true),
            with_ipv6(place(1, "b", 0, false), false),
            with_ipv6(place(2, "d", 0, true), true),
            with_ipv6(place(3, "c", 0, true), true),
        ];
        let (attachments, endpoints): (Vec<_>, Vec<_>) = places.into_iter().unzip();
        assert_eq!((gateway(&attachments, &endpoints), ipv6_gateway(&attachments, &endpoints)), (Some(0), Some(3)));
        assert_eq!(ipv6_gateway(&attachments[..2], &endpoints[..2]), None);
    }

    #[test]
    fn a_port_that_moves_stays_on_the_addresses_that_were_wished_for() {
        let port = |host_ip: Option<IpAddr>, ipv6| PublishedPort {
            host_ip,
            ipv6,
            host_port: 80,
            container_port: 8080,
            protocol: Protocol::Tcp,
        };
        let wish = |host_ip| again(&PublishedPort { host_port: 0, ..port(host_ip, false) }, None);
        let everywhere = PortMapping { host_ip: None, ..wish(None) };
        let (four, six) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED));
        for (published, wish, expected) in [
            (port(None, true), Some(&everywhere), None),
            (port(None, false), Some(&everywhere), None),
            (port(None, false), Some(&wish(Some(four))), Some(four)),
            (port(None, true), None, None),
            (port(None, false), None, Some(four)),
            (port(Some(six), false), Some(&wish(Some(six))), Some(six)),
        ] {
            assert_eq!(again(&published, wish).host_ip, expected, "{published:?} {wish:?}");
        }
    }
}
