// SPDX-License-Identifier: Apache-2.0
//! What the table says: the chains, the rules for each bridge, the published ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::expression::{Rule, Verdict, interface_name};
use crate::message::{Chain, Element, Set, Transaction, Type};

/// A bridge whose containers the table serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The interface's name.
    pub name: String,
    /// The containers' network.
    pub network: Ipv4Addr,
    /// How many bits of it count.
    pub prefix: u8,
    /// The containers' IPv6 network, and how many bits of it count, where they have one.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Its containers reach the world as the host.
    pub masquerade: bool,
    /// Nothing is routed to it or from it.
    pub internal: bool,
    /// Its containers reach each other. Where they do not, the bridge keeps their frames apart; and the host does not carry
    /// back to the bridge what one of them sends to it for another.
    pub inter_container: bool,
}

/// What carries a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// IPPROTO_TCP.
    Tcp,
    /// IPPROTO_UDP.
    Udp,
}

/// A port of this host that leads to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Published {
    /// TCP or UDP.
    pub transport: Transport,
    /// The host's address it is published on; `None`: every one of the container's address's family.
    pub host_address: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The container's address.
    pub container_address: IpAddr,
    /// The container's port.
    pub container_port: u16,
}

/// What becomes of IPv6 packets that come by no bridge and go to none: of those that this host would carry for its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transit {
    /// What others say.
    #[default]
    Untouched,
    /// They are dropped: this host only forwards because its containers need it.
    Dropped,
}

// The numbers nft has for types, six bits each in a concatenation; the kernel only stores them.
const TYPE_IPV4_ADDRESS: u32 = 7;
const TYPE_IPV6_ADDRESS: u32 = 8;
const TYPE_TRANSPORT: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_INTERFACE: u32 = 41;
const INTERFACE: Type = Type { number: TYPE_INTERFACE, length: 16, in_host_order: true };
const ADDRESS: Type = Type { number: TYPE_IPV4_ADDRESS, length: 4, in_host_order: false };
const ADDRESS_AND_PORT: Type = concatenation(TYPE_IPV4_ADDRESS << 6 | TYPE_PORT, 8);
const ADDRESS6: Type = Type { number: TYPE_IPV6_ADDRESS, length: 16, in_host_order: false };
const ADDRESS6_AND_PORT: Type = concatenation(TYPE_IPV6_ADDRESS << 6 | TYPE_PORT, 20);

const fn concatenation(number: u32, length: u32) -> Type {
    Type { number, length, in_host_order: false }
}

/// `transport . port → address . port`, for every address of the host.
const ANY_ADDRESS: Set = Set {
    name: "published",
    id: 1,
    key: concatenation(TYPE_TRANSPORT << 6 | TYPE_PORT, 8),
    value: Some(ADDRESS_AND_PORT),
    interval: false,
};
/// `transport . address . port → address . port`, for one address of the host.
const ONE_ADDRESS: Set = Set {
    name: "published-on-address",
    id: 2,
    key: concatenation(TYPE_TRANSPORT << 12 | TYPE_IPV4_ADDRESS << 6 | TYPE_PORT, 12),
    value: Some(ADDRESS_AND_PORT),
    interval: false,
};
/// The bridges.
const BRIDGES: Set = Set { name: "bridges", id: 3, key: INTERFACE, value: None, interval: false };
/// Each bridge with itself: what goes from one of its containers to another, where that may be.
const WITHIN: Set = Set {
    name: "within",
    id: 4,
    key: concatenation(TYPE_INTERFACE << 6 | TYPE_INTERFACE, 32),
    value: None,
    interval: false,
};
/// The bridges of internal networks.
const INTERNAL: Set = Set { name: "internal", id: 5, key: INTERFACE, value: None, interval: false };
/// The containers' networks.
const NETWORKS: Set = Set { name: "networks", id: 6, key: ADDRESS, value: None, interval: true };
/// Those whose containers reach the world as the host.
const MASQUERADED: Set = Set { name: "masqueraded", id: 7, key: ADDRESS, value: None, interval: true };
/// The same four for IPv6.
const ANY_ADDRESS6: Set = Set { name: "published6", id: 8, value: Some(ADDRESS6_AND_PORT), ..ANY_ADDRESS };
const ONE_ADDRESS6: Set = Set {
    name: "published6-on-address",
    id: 9,
    key: concatenation(TYPE_TRANSPORT << 12 | TYPE_IPV6_ADDRESS << 6 | TYPE_PORT, 24),
    value: Some(ADDRESS6_AND_PORT),
    interval: false,
};
const NETWORKS6: Set = Set { name: "networks6", id: 10, key: ADDRESS6, value: None, interval: true };
const MASQUERADED6: Set = Set { name: "masqueraded6", id: 11, key: ADDRESS6, value: None, interval: true };

// linux/netfilter.h and linux/netfilter_ipv4.h.
const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

const GUARD: Chain = Chain { name: "guard", kind: "filter", hook: PREROUTING, priority: -300 };
const ARRIVING: Chain = Chain { name: "arriving", kind: "nat", hook: PREROUTING, priority: -100 };
const LOCAL: Chain = Chain { name: "local", kind: "nat", hook: OUTPUT, priority: -100 };
const LEAVING: Chain = Chain { name: "leaving", kind: "nat", hook: POSTROUTING, priority: 100 };
const PASSING: Chain = Chain { name: "passing", kind: "filter", hook: FORWARD, priority: 0 };

const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);

/// Writes the whole table into a transaction that begins with nothing. Its rules are the same however many bridges and
/// ports there are: those are elements of sets and maps.
pub(crate) fn write(transaction: &mut Transaction<'_>, bridges: &[Bridge], published: &[Published], transit: Transit) {
    for chain in [GUARD, ARRIVING, LOCAL, LEAVING, PASSING] {
        transaction.create_chain(&chain);
    }
    for set in [ANY_ADDRESS, ONE_ADDRESS, BRIDGES, WITHIN, INTERNAL, NETWORKS, MASQUERADED] {
        transaction.create_set(&set);
    }
    for set in [ANY_ADDRESS6, ONE_ADDRESS6, NETWORKS6, MASQUERADED6] {
        transaction.create_set(&set);
    }
    publishing(transaction);
    guard(transaction);
    masquerading(transaction);
    isolation(transaction, transit);
    for bridge in bridges {
        add_bridge(transaction, bridge);
    }
    add(transaction, published);
}

/// Writes a table that only redirects what begins in its own namespace.
pub(crate) fn write_within(transaction: &mut Transaction<'_>, redirected: &[Published]) {
    transaction.create_chain(&LOCAL);
    transaction.create_set(&ONE_ADDRESS);
    transaction.append_rule(
        LOCAL.name,
        &Rule::new("ports redirected on one address").ipv4().dnat_by_address_and_port(&ONE_ADDRESS),
    );
    add(transaction, redirected);
}

/// Connections to published ports are redirected, whether they arrive or begin here.
fn publishing(transaction: &mut Transaction<'_>) {
    // What is published on 127.0.0.1 is for this host alone. A neighbour on the wire who addresses frames to this host
    // with such a destination would otherwise be redirected before the kernel notices that they are martians.
    transaction.append_rule(
        ARRIVING.name,
        &Rule::new("loopback is not reached from outside")
            .not_arriving_by("lo")
            .ipv4()
            .destination_in(LOOPBACK.0, LOOPBACK.1)
            .verdict(Verdict::Return),
    );
    for chain in [ARRIVING.name, LOCAL.name] {
        transaction.append_rule(
            chain,
            &Rule::new("ports published on one address").ipv4().dnat_by_address_and_port(&ONE_ADDRESS),
        );
        transaction.append_rule(
            chain,
            &Rule::new("ports published on every address").ipv4().for_this_host().dnat_by_port(&ANY_ADDRESS),
        );
        transaction.append_rule(
            chain,
            &Rule::new("ports published on one IPv6 address").ipv6().dnat_by_address_and_port(&ONE_ADDRESS6),
        );
        // IPv6 has no `route_localnet`: what leaves ::1 has no way back, so it is refused at once instead.
        transaction.append_rule(
            chain,
            &Rule::new("ports published on every IPv6 address")
                .ipv6()
                .not_for(Ipv6Addr::LOCALHOST)
                .for_this_host()
                .dnat_by_port(&ANY_ADDRESS6),
        );
    }
}

/// The bridges have `route_localnet`, without which loopback publishing would need a proxy process. What that would open
/// to the containers is closed here: neither may they reach the host's loopback, nor speak in its name.
fn guard(transaction: &mut Transaction<'_>) {
    let rule = |purpose| Rule::new(purpose).arriving_by_one_of(&BRIDGES).ipv4();
    transaction.append_rule(
        GUARD.name,
        &rule("containers do not reach the host's loopback")
            .destination_in(LOOPBACK.0, LOOPBACK.1)
            .verdict(Verdict::Drop),
    );
    transaction.append_rule(
        GUARD.name,
        &rule("containers do not pose as the host's loopback").source_in(LOOPBACK.0, LOOPBACK.1).verdict(Verdict::Drop),
    );
    // With ::1 the kernel does that itself. What it has no setting for in IPv6 is a source's check (rp_filter).
    let rule = |purpose| Rule::new(purpose).arriving_by_one_of(&BRIDGES).ipv6();
    transaction.append_rule(
        GUARD.name,
        &rule("containers do not pose as somebody elsewhere").source_is_elsewhere().verdict(Verdict::Drop),
    );
    transaction
        .append_rule(GUARD.name, &rule("containers are no routers").router_advertisement().verdict(Verdict::Drop));
}

/// By the source's network, not by the bridge that a packet came by: what a bridge only bridges, and the packet filter is
/// made to look at (bridge-nf-call-iptables), comes from nowhere here.
fn masquerading(transaction: &mut Transaction<'_>) {
    transaction.append_rule(
        LEAVING.name,
        &Rule::new("containers reach the world as the host")
            .ipv4()
            .leaving_by_none_of(&BRIDGES)
            .source_in_one_of(&MASQUERADED)
            .masquerade(),
    );
    transaction.append_rule(
        LEAVING.name,
        &Rule::new("containers reach the IPv6 world as the host")
            .ipv6()
            .leaving_by_none_of(&BRIDGES)
            .source_in_one_of(&MASQUERADED6)
            .masquerade(),
    );
    // The answer must come back through the host, or it would come from an address that was never asked.
    transaction.append_rule(
        LEAVING.name,
        &Rule::new("containers reach each other's published ports")
            .ipv4()
            .leaving_by_one_of(&BRIDGES)
            .source_in_one_of(&NETWORKS)
            .redirected()
            .masquerade(),
    );
    transaction.append_rule(
        LEAVING.name,
        &Rule::new("containers reach each other's published ports by IPv6")
            .ipv6()
            .leaving_by_one_of(&BRIDGES)
            .source_in_one_of(&NETWORKS6)
            .redirected()
            .masquerade(),
    );
    transaction.append_rule(
        LEAVING.name,
        &Rule::new("the host reaches published ports over loopback")
            .leaving_by_one_of(&BRIDGES)
            .ipv4()
            .source_in(LOOPBACK.0, LOOPBACK.1)
            .masquerade(),
    );
}

/// From outside, other networks' containers included, a container is reached through its published ports only: not by
/// whoever routes to its address. Between an internal network and anything else nothing is forwarded at all.
fn isolation(transaction: &mut Transaction<'_>, transit: Transit) {
    let mut append = |rule: Rule, verdict| transaction.append_rule(PASSING.name, &rule.verdict(verdict));
    append(Rule::new("within a network").between(&WITHIN), Verdict::Accept);
    append(Rule::new("nothing leaves an internal network").arriving_by_one_of(&INTERNAL), Verdict::Drop);
    append(Rule::new("nothing enters an internal network").leaving_by_one_of(&INTERNAL), Verdict::Drop);
    let entering = |purpose| Rule::new(purpose).leaving_by_one_of(&BRIDGES);
    append(entering("answers to containers").established(), Verdict::Accept);
    append(entering("published ports").redirected(), Verdict::Accept);
    append(entering("nothing else gets in"), Verdict::Drop);
    if transit == Transit::Dropped {
        append(Rule::new("this host is no router for its neighbours").ipv6().between_no_bridges(), Verdict::Drop);
    }
}

/// Adds a bridge to the sets that it belongs to.
pub(crate) fn add_bridge(transaction: &mut Transaction<'_>, bridge: &Bridge) {
    for (set, elements) in bridge.elements() {
        transaction.add_elements(&set, &elements);
    }
}

/// Removes it from them.
pub(crate) fn remove_bridge(transaction: &mut Transaction<'_>, bridge: &Bridge) {
    for (set, elements) in bridge.elements() {
        transaction.delete_elements(&set, &elements);
    }
}

/// Adds the ports to their maps.
pub(crate) fn add(transaction: &mut Transaction<'_>, published: &[Published]) {
    for (map, elements) in elements(published) {
        transaction.add_elements(&map, &elements);
    }
}

/// Removes the ports from their maps.
pub(crate) fn remove(transaction: &mut Transaction<'_>, published: &[Published]) {
    for (map, elements) in elements(published) {
        transaction.delete_elements(&map, &elements);
    }
}

fn elements(published: &[Published]) -> [(Set, Vec<Element>); 4] {
    let mut maps = [ANY_ADDRESS, ONE_ADDRESS, ANY_ADDRESS6, ONE_ADDRESS6].map(|map| (map, Vec::new()));
    for port in published {
        let map = usize::from(port.container_address.is_ipv6()) * 2 + usize::from(port.host_address.is_some());
        maps[map].1.push(port.element());
    }
    maps
}

impl Published {
    /// Each field fills whole registers of four bytes.
    fn element(&self) -> Element {
        let mut key = vec![self.transport.number(), 0, 0, 0];
        if let Some(address) = self.host_address {
            key.extend_from_slice(&octets(address));
        }
        key.extend_from_slice(&self.host_port.to_be_bytes());
        key.extend_from_slice(&[0, 0]);
        let mut value = octets(self.container_address);
        value.extend_from_slice(&self.container_port.to_be_bytes());
        value.extend_from_slice(&[0, 0]);
        Element { key, value: Some(value), ends_range: false }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

impl Bridge {
    fn elements(&self) -> Vec<(Set, Vec<Element>)> {
        let name = interface_name(&self.name);
        let mut elements = vec![(BRIDGES, vec![Element::of(name.to_vec())])];
        if self.inter_container {
            elements.push((WITHIN, vec![Element::of([name, name].concat())]));
        }
        elements.push((NETWORKS, self.range()));
        let range6 = self.ipv6.map(|(network, prefix)| range6(network, prefix));
        elements.extend(range6.clone().map(|range| (NETWORKS6, range)));
        if self.internal {
            elements.push((INTERNAL, vec![Element::of(name.to_vec())]));
        } else if self.masquerade {
            elements.push((MASQUERADED, self.range()));
            elements.extend(range6.map(|range| (MASQUERADED6, range)));
        }
        elements
    }

    /// Where its network begins and where it ends; the last one of all never does.
    fn range(&self) -> Vec<Element> {
        let hosts = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        let first = self.network.to_bits() & !hosts;
        range(first.to_be_bytes().to_vec(), (first | hosts).checked_add(1).map(|after| after.to_be_bytes().to_vec()))
    }
}

fn range6(network: Ipv6Addr, prefix: u8) -> Vec<Element> {
    let hosts = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
    let first = network.to_bits() & !hosts;
    range(first.to_be_bytes().to_vec(), (first | hosts).checked_add(1).map(|after| after.to_be_bytes().to_vec()))
}

fn range(first: Vec<u8>, after: Option<Vec<u8>>) -> Vec<Element> {
    let end = after.map(|after| Element { ends_range: true, ..Element::of(after) });
    [Element::of(first)].into_iter().chain(end).collect()
}

impl Transport {
    /// The protocol number in the IP header.
    pub(crate) fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }
}
