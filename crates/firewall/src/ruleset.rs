// SPDX-License-Identifier: Apache-2.0
//! What the table says: the chains, the rules for each bridge, the published ports.

use std::net::Ipv4Addr;

use crate::expression::{Rule, Verdict};
use crate::message::{Chain, Element, Map, Transaction};

/// A bridge whose containers the table serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The interface's name.
    pub name: String,
    /// The containers' network.
    pub network: Ipv4Addr,
    /// How many bits of it count.
    pub prefix: u8,
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
    /// The host's address it is published on; `None`: every one.
    pub host_address: Option<Ipv4Addr>,
    /// The host's port.
    pub host_port: u16,
    /// The container's address.
    pub container_address: Ipv4Addr,
    /// The container's port.
    pub container_port: u16,
}

// The numbers nft has for types, six bits each in a concatenation; the kernel only stores them.
const TYPE_IPV4_ADDRESS: u32 = 7;
const TYPE_TRANSPORT: u32 = 12;
const TYPE_PORT: u32 = 13;
const ADDRESS_AND_PORT: u32 = TYPE_IPV4_ADDRESS << 6 | TYPE_PORT;

/// `transport . port → address . port`, for every address of the host.
const ANY_ADDRESS: Map = Map {
    name: "published",
    id: 1,
    key_type: TYPE_TRANSPORT << 6 | TYPE_PORT,
    key_length: 8,
    data_type: ADDRESS_AND_PORT,
    data_length: 8,
};
/// `transport . address . port → address . port`, for one address of the host.
const ONE_ADDRESS: Map = Map {
    name: "published-on-address",
    id: 2,
    key_type: TYPE_TRANSPORT << 12 | TYPE_IPV4_ADDRESS << 6 | TYPE_PORT,
    key_length: 12,
    data_type: ADDRESS_AND_PORT,
    data_length: 8,
};

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

/// Writes the whole table into a transaction that begins with nothing.
pub(crate) fn write(transaction: &mut Transaction<'_>, bridges: &[Bridge], published: &[Published]) {
    for chain in [GUARD, ARRIVING, LOCAL, LEAVING, PASSING] {
        transaction.create_chain(&chain);
    }
    transaction.create_map(&ANY_ADDRESS);
    transaction.create_map(&ONE_ADDRESS);
    publishing(transaction);
    for bridge in bridges {
        guard(transaction, bridge);
        masquerading(transaction, bridge);
        isolation(transaction, bridge);
    }
    add(transaction, published);
}

/// Writes a table that only redirects what begins in its own namespace.
pub(crate) fn write_within(transaction: &mut Transaction<'_>, redirected: &[Published]) {
    transaction.create_chain(&LOCAL);
    transaction.create_map(&ONE_ADDRESS);
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
    }
}

/// The bridge has `route_localnet`, without which loopback publishing would need a proxy process. What that would open
/// to the containers is closed here: neither may they reach the host's loopback, nor speak in its name.
fn guard(transaction: &mut Transaction<'_>, bridge: &Bridge) {
    let rule = |purpose| Rule::new(purpose).arriving_by(&bridge.name).ipv4();
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
}

fn masquerading(transaction: &mut Transaction<'_>, bridge: &Bridge) {
    transaction.append_rule(
        LEAVING.name,
        &Rule::new("containers reach the world as the host")
            .ipv4()
            .source_in(bridge.network, bridge.prefix)
            .not_leaving_by(&bridge.name)
            .masquerade(),
    );
    // The answer must come back through the host, or it would come from an address that was never asked.
    transaction.append_rule(
        LEAVING.name,
        &Rule::new("containers reach each other's published ports")
            .leaving_by(&bridge.name)
            .ipv4()
            .source_in(bridge.network, bridge.prefix)
            .redirected()
            .masquerade(),
    );
    transaction.append_rule(
        LEAVING.name,
        &Rule::new("the host reaches published ports over loopback")
            .leaving_by(&bridge.name)
            .ipv4()
            .source_in(LOOPBACK.0, LOOPBACK.1)
            .masquerade(),
    );
}

/// From outside, a container is reached through its published ports only: not by whoever routes to its address.
fn isolation(transaction: &mut Transaction<'_>, bridge: &Bridge) {
    let rule = |purpose| Rule::new(purpose).leaving_by(&bridge.name).not_arriving_by(&bridge.name);
    transaction.append_rule(PASSING.name, &rule("answers to containers").established().verdict(Verdict::Accept));
    transaction.append_rule(PASSING.name, &rule("published ports").redirected().verdict(Verdict::Accept));
    transaction.append_rule(PASSING.name, &rule("nothing else gets in").verdict(Verdict::Drop));
}

/// Adds the ports to their maps.
pub(crate) fn add(transaction: &mut Transaction<'_>, published: &[Published]) {
    let (any, one) = elements(published);
    transaction.add_elements(&ANY_ADDRESS, &any);
    transaction.add_elements(&ONE_ADDRESS, &one);
}

/// Removes the ports from their maps.
pub(crate) fn remove(transaction: &mut Transaction<'_>, published: &[Published]) {
    let (any, one) = elements(published);
    transaction.delete_elements(&ANY_ADDRESS, &any);
    transaction.delete_elements(&ONE_ADDRESS, &one);
}

fn elements(published: &[Published]) -> (Vec<Element>, Vec<Element>) {
    let (mut any, mut one) = (Vec::new(), Vec::new());
    for port in published {
        match port.host_address {
            None => any.push(port.element()),
            Some(_) => one.push(port.element()),
        }
    }
    (any, one)
}

impl Published {
    /// Each field fills whole registers of four bytes.
    fn element(&self) -> Element {
        let mut key = vec![self.transport.number(), 0, 0, 0];
        if let Some(address) = self.host_address {
            key.extend_from_slice(&address.octets());
        }
        key.extend_from_slice(&self.host_port.to_be_bytes());
        key.extend_from_slice(&[0, 0]);
        let [a, b, c, d] = self.container_address.octets();
        let [high, low] = self.container_port.to_be_bytes();
        Element { key, data: [a, b, c, d, high, low, 0, 0] }
    }
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
