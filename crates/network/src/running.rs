// SPDX-License-Identifier: Apache-2.0
//! The bridges as they stand in the kernel, with one table for all of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall::{Firewall, FirewallError, Published, Transit, connection};
use netlink::{Batch, Protocol as NetlinkProtocol, Socket, route};
use oci::ContainerId;
use rustix::io::Errno;

use crate::attachment::{Attachment, Publication};
use crate::bridge::{self, Bridge};
use crate::claim::Claim;
use crate::config::Config;
use crate::endpoint::{Endpoint, PortMapping, Protocol, PublishedPort, Target, hardware_address};
use crate::error::NetworkError;
use crate::forwarding::{self, Forwarding};
use crate::id::NetworkId;
use crate::port_holder::PortHolder;
use crate::segment::Segment;
use crate::setting;
use crate::spec::BridgeSpec;

/// What there is once the first container was attached.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) socket: Socket,
    pub(crate) firewall: Firewall,
    pub(crate) segments: BTreeMap<NetworkId, Segment>,
    pub(crate) enabled_forwarding: bool,
    /// What the table says of IPv6 packets of nobody's here.
    transit: Transit,
    /// Keeps other processes from managing the same bridge and table.
    _claims: [Claim; 2],
}

/// Somebody who wants to be attached.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) container: &'a ContainerId,
    /// The address it wants; any when absent.
    pub(crate) address: Option<Ipv4Addr>,
    /// The same in IPv6.
    pub(crate) ipv6: Option<Ipv6Addr>,
    /// The hardware address it wants; one that goes with the address when absent.
    pub(crate) mac: Option<[u8; 6]>,
    /// The container's interface, inside.
    pub(crate) interface: &'a str,
    /// The host's end of it.
    pub(crate) host_interface: &'a str,
    pub(crate) ports: &'a [PortMapping],
}

impl Running {
    /// Nothing yet but the right to make it.
    pub(crate) fn open(config: &Config) -> Result<Running, NetworkError> {
        let claims = Claim::both(config)?;
        let socket = Socket::open(NetlinkProtocol::Route)?;
        let firewall = Firewall::open(&config.table)?;
        let transit = Transit::default();
        let segments = BTreeMap::new();
        Ok(Running { socket, firewall, segments, enabled_forwarding: false, transit, _claims: claims })
    }

    /// A bridge more, and what it needs.
    pub(crate) fn add(&mut self, spec: &BridgeSpec) -> Result<u32, NetworkError> {
        let bridge = bridge::establish(&mut self.socket, spec)?;
        self.segments.insert(spec.id.clone(), Segment::new(spec, bridge.index));
        let added = self.serve(spec).and_then(|()| self.connect(&spec.id, bridge));
        if let Err(error) = added {
            self.segments.remove(&spec.id);
            if let Err(error) = self.replace_table(&[]) {
                tracing::warn!(error = %errors::chain(&error), "the packet filter still names a bridge that was not made");
            }
            if bridge.created {
                bridge::delete_after_failure(&mut self.socket, &spec.bridge);
            }
            return Err(error);
        }
        Ok(bridge.index)
    }

    /// The table guards the host's loopback against what the setting in [`Running::connect`] opens.
    fn serve(&mut self, spec: &BridgeSpec) -> Result<(), NetworkError> {
        if self.segments.len() == 1 {
            // The first one: whatever the table says was another daemon's.
            self.replace_table(&[])?;
        } else {
            match self.firewall.add_bridge(&spec.to_rule()) {
                // Somebody emptied the packet filter.
                Err(error) if error.is_missing() => self.replace_table(&[])?,
                other => other?,
            }
        }
        self.forward()?;
        if spec.ipv6.is_some() { self.forward_ipv6() } else { Ok(()) }
    }

    /// Deletes a bridge that nobody is attached to.
    pub(crate) fn remove(&mut self, id: &NetworkId) -> Result<(), NetworkError> {
        let Some(segment) = self.segments.get(id) else { return Ok(()) };
        let (spec, attached) = (&segment.spec, segment.leases.count());
        if attached > 0 {
            return Err(NetworkError::InUse { bridge: spec.bridge.clone(), attached });
        }
        // First the bridge: while it is there, the table must guard it.
        bridge::delete(&mut self.socket, &spec.bridge)?;
        let rule = spec.to_rule();
        self.segments.remove(id);
        match self.firewall.remove_bridge(&rule) {
            Err(error) if error.is_missing() => self.replace_table(&[]),
            other => Ok(other?),
        }
    }

    /// Lets the kernel forward packets at all.
    pub(crate) fn forward(&mut self) -> Result<(), NetworkError> {
        self.enabled_forwarding |= setting::switch_on("/proc/sys/net/ipv4/ip_forward")?;
        Ok(())
    }

    /// Who wants IPv6 packets forwarded now; the table is to say accordingly.
    pub(crate) fn note_transit(&mut self) -> Result<Forwarding, NetworkError> {
        let now = forwarding::now()?;
        self.transit = match now {
            Forwarding::Router => Transit::Untouched,
            Forwarding::Off | Forwarding::ForContainers => Transit::Dropped,
        };
        Ok(now)
    }

    /// Has IPv6 packets forwarded; where nobody else wants that, no others than the containers', which the table sees to first.
    pub(crate) fn forward_ipv6(&mut self) -> Result<(), NetworkError> {
        let before = self.transit;
        let now = self.note_transit()?;
        if before != self.transit {
            self.replace_table(&[]).inspect_err(|_| self.transit = before)?;
        }
        if now == Forwarding::Off { forwarding::switch_on() } else { Ok(()) }
    }

    /// Whether the bridge is still the one we know.
    pub(crate) fn stands(&mut self, id: &NetworkId) -> Result<bool, NetworkError> {
        let segment = self.segments.get(id).ok_or_else(|| NetworkError::Unknown(id.clone()))?;
        let link = route::link_by_index(&mut self.socket, segment.index)?;
        Ok(link.is_some_and(|link| link.name == segment.spec.bridge))
    }

    /// Makes the bridge again, for those who were attached to it.
    pub(crate) fn rebuild(&mut self, id: &NetworkId) -> Result<u32, NetworkError> {
        let segment = self.segments.get_mut(id).ok_or_else(|| NetworkError::Unknown(id.clone()))?;
        let bridge = bridge::establish(&mut self.socket, &segment.spec)?;
        segment.index = bridge.index;
        self.connect(id, bridge)?;
        Ok(bridge.index)
    }

    /// Makes the bridge reach the host's loopback, and if it is new, those containers that had another before.
    pub(crate) fn connect(&mut self, id: &NetworkId, bridge: Bridge) -> Result<(), NetworkError> {
        let segment = self.segments.get(id).ok_or_else(|| NetworkError::Unknown(id.clone()))?;
        setting::write(&format!("/proc/sys/net/ipv4/conf/{}/route_localnet", segment.spec.bridge), "1")?;
        if !bridge.created {
            return Ok(());
        }
        for held in segment.leases.holders() {
            let mut batch = Batch::new();
            route::enslave(&mut batch, &held.host_interface, bridge.index);
            route::hairpin(&mut batch, &held.host_interface);
            if !segment.spec.traits.inter_container {
                route::isolate(&mut batch, &held.host_interface);
            }
            match self.socket.execute(&mut batch) {
                // The container ended, and nobody released it yet.
                Err(error) if error.refusal() == Some(Errno::NODEV) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Addresses, ports and their rules: all or nothing.
    pub(crate) fn admit(&mut self, id: &NetworkId, guest: &Guest<'_>) -> Result<Endpoint, NetworkError> {
        let segment = self.segments.get_mut(id).ok_or_else(|| NetworkError::Unknown(id.clone()))?;
        let address = segment.address_for(guest.address)?;
        let ipv6 = segment.ipv6_for(guest.ipv6, address)?;
        let (layout, internal) = (&segment.spec.ipv4, segment.spec.traits.internal);
        let mut endpoint = Endpoint {
            network: id.clone(),
            interface: guest.interface.to_owned(),
            address,
            prefix: layout.subnet.prefix(),
            gateway: (!internal).then_some(layout.gateway),
            ipv6,
            mac: guest.mac.unwrap_or_else(|| hardware_address(address)),
            host_interface: guest.host_interface.to_owned(),
            ports: Vec::new(),
        };
        if ipv6.is_some() {
            // Whoever became a router, or was made one no longer, is believed from now on.
            self.forward_ipv6()?;
        }
        let publication = self.publication(id, guest.container, endpoint.target(), guest.ports, false)?;
        endpoint.ports = publication.ports();
        let attachment = Attachment {
            container: guest.container.clone(),
            host_interface: guest.host_interface.to_owned(),
            publication,
        };
        let segment = self.segments.get_mut(id).ok_or_else(|| NetworkError::Unknown(id.clone()))?;
        segment.claim(&endpoint, attachment)?;
        Ok(endpoint)
    }

    /// Reserves ports and, unless they are held back, redirects them to an address.
    pub(crate) fn publication(
        &mut self,
        id: &NetworkId,
        container: &ContainerId,
        target: Target,
        ports: &[PortMapping],
        held_back: bool,
    ) -> Result<Publication, NetworkError> {
        let publish_on = self.segments.get(id).and_then(|segment| segment.spec.traits.publish_on);
        let with_address = |mapping: &PortMapping| PortMapping {
            host_ip: mapping.host_ip.or(publish_on.map(Into::into)),
            ..mapping.clone()
        };
        let mappings: Vec<PortMapping> = ports.iter().map(with_address).collect();
        let explain = |error, wanted: &[PublishedPort]| self.name_holder(error, container, wanted);
        let mut publication = Publication::reserve(&mappings, target, explain)?;
        publication.held_back = held_back;
        self.redirect(&publication)?;
        Ok(publication)
    }

    fn redirect(&mut self, publication: &Publication) -> Result<(), NetworkError> {
        let rules = publication.rules();
        match self.firewall.publish(&rules) {
            // Somebody emptied the packet filter, as host firewalls do when they are reloaded.
            Err(error) if error.is_missing() => self.replace_table(&rules)?,
            other => other?,
        }
        warn_if_failed(connection::redirect_flows(&rules));
        Ok(())
    }

    /// Publishes other ports through an endpoint in place of some of its own, which may be of the same numbers. If that
    /// fails it has those it had.
    pub(crate) fn exchange(
        &mut self,
        endpoint: &Endpoint,
        withdrawn: &[PublishedPort],
        wanted: &[PortMapping],
    ) -> Result<Vec<PublishedPort>, NetworkError> {
        let held = self.holder_mut(endpoint).ok_or(NetworkError::Gone)?;
        let container = held.container.clone();
        let held_back = held.publication.held_back;
        let old = held.publication.take(withdrawn);
        if let Err(error) = self.end_redirection(&old) {
            if let Some(held) = self.holder_mut(endpoint) {
                held.publication.append(old);
            }
            return Err(error);
        }
        let old_ports = old.ports();
        // Their reservations end here: the same numbers may be wanted again.
        drop(old);
        let new = self.publication(&endpoint.network, &container, endpoint.target(), wanted, held_back);
        let (publication, done) = match new {
            Ok(new) => (new, Ok(())),
            Err(error) => {
                let mut again = Publication::again(&container, endpoint.target(), &old_ports);
                again.held_back = held_back;
                if let Err(error) = self.redirect(&again) {
                    tracing::error!(%container, error = %errors::chain(&error), "ports are not published any more");
                }
                (again, Err(error))
            }
        };
        let held = self.holder_mut(endpoint).ok_or(NetworkError::Gone)?;
        held.publication.append(publication);
        let ports = held.publication.ports();
        done.map(|()| ports)
    }

    fn end_redirection(&mut self, publication: &Publication) -> Result<(), NetworkError> {
        match self.firewall.withdraw(&publication.rules()) {
            Err(error) if error.is_missing() => self.replace_table(&[]),
            other => other.map_err(NetworkError::from),
        }
    }

    /// The attachment that an endpoint stands for, if it is still that one: the address may be another container's by
    /// now; the interface's name is never used again.
    pub(crate) fn holder_mut(&mut self, endpoint: &Endpoint) -> Option<&mut Attachment> {
        let held = self.segments.get_mut(&endpoint.network)?.leases.holder_mut(endpoint.address);
        held.filter(|held| held.host_interface == endpoint.host_interface)
    }

    /// Withdraws an endpoint's ports. If that fails they stay published, so that nobody inherits them.
    pub(crate) fn withdraw(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let Some(held) = self.holder_mut(endpoint) else { return Ok(()) };
        let publication = std::mem::take(&mut held.publication);
        let datagrams = publication.any(|port| port.protocol == Protocol::Udp);
        let withdrawn = self.end_redirection(&publication);
        match withdrawn {
            Ok(()) if datagrams => endpoint.addresses().for_each(end_flows),
            Ok(()) => {}
            Err(_) => {
                if let Some(held) = self.holder_mut(endpoint) {
                    held.publication = publication;
                }
            }
        }
        withdrawn
    }

    /// Redirects an endpoint's ports no longer, or again; they stay reserved. If that fails all is as before.
    pub(crate) fn hold_back(&mut self, endpoint: &Endpoint, hold: bool) -> Result<(), NetworkError> {
        let Some(held) = self.holder_mut(endpoint).filter(|held| held.publication.held_back != hold) else {
            return Ok(());
        };
        let rules = held.publication.all_rules();
        // Until they redirect again, a table that is made anew has them from here alone.
        held.publication.held_back = true;
        let changed = match if hold { self.firewall.withdraw(&rules) } else { self.firewall.publish(&rules) } {
            Err(error) if error.is_missing() => self.replace_table(if hold { &[] } else { &rules }),
            other => other.map_err(NetworkError::from),
        };
        if changed.is_ok() && rules.iter().any(|rule| rule.transport == firewall::Transport::Udp) {
            if hold {
                endpoint.addresses().for_each(end_flows);
            } else {
                warn_if_failed(connection::redirect_flows(&rules));
            }
        }
        if let Some(held) = self.holder_mut(endpoint) {
            held.publication.held_back = hold == changed.is_ok();
        }
        changed
    }

    /// Withdraws an endpoint's ports and ends its lease.
    pub(crate) fn release(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        if self.holder_mut(endpoint).is_none() {
            return Ok(());
        }
        self.withdraw(endpoint)?;
        if let Some(segment) = self.segments.get_mut(&endpoint.network) {
            segment.end(endpoint);
        }
        Ok(())
    }

    /// The table as it must be for all that are attached, and one that is about to be.
    pub(crate) fn replace_table(&mut self, coming: &[Published]) -> Result<(), NetworkError> {
        let bridges: Vec<firewall::Bridge> = self.segments.values().map(|segment| segment.spec.to_rule()).collect();
        let attached = self.holders().flat_map(|held| held.publication.rules());
        let published: Vec<Published> = attached.chain(coming.iter().copied()).collect();
        Ok(self.firewall.replace(&bridges, &published, self.transit)?)
    }

    /// All who are attached, to whichever bridge.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Attachment> {
        self.segments.values().flat_map(|segment| segment.leases.holders())
    }

    /// If the port is one of ours, says whose.
    fn name_holder(&self, error: NetworkError, id: &ContainerId, wanted: &[PublishedPort]) -> NetworkError {
        let NetworkError::PortTaken { address, port, protocol, holder } = error else { return error };
        let collides =
            |held: &PublishedPort| held.occupies(address) && held.host_port == port && held.protocol == protocol;
        let container = if wanted.iter().any(collides) {
            Some(id)
        } else {
            self.holders().find(|held| held.publication.any(collides)).map(|held| &held.container)
        };
        let holder = container.map(|id| PortHolder::Container(id.short().to_owned())).or(holder);
        NetworkError::PortTaken { address, port, protocol, holder }
    }
}

/// Datagrams that an address was sent go nowhere any more.
fn end_flows(address: IpAddr) {
    warn_if_failed(connection::end_flows(address));
}

/// Flows of the past that go where they went are no reason to refuse a container.
fn warn_if_failed(forgotten: Result<usize, FirewallError>) {
    if let Err(error) = forgotten {
        tracing::warn!(error = %errors::chain(&error), "UDP senders that never pause may miss a change of published ports");
    }
}
