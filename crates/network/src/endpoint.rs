// SPDX-License-Identifier: Apache-2.0
//! A container's place in the network, in the words of those who ask for it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::id::NetworkId;
use crate::subnet::Subnet;

/// What carries a port's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

impl From<Protocol> for firewall::Transport {
    fn from(protocol: Protocol) -> firewall::Transport {
        match protocol {
            Protocol::Tcp => firewall::Transport::Tcp,
            Protocol::Udp => firewall::Transport::Udp,
        }
    }
}

/// A wish to publish a container's port on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// On which of the host's addresses; `None`: on all of them, those of IPv6 included where the container has an IPv6
    /// address, too; 0.0.0.0 or ::: on all of that family.
    pub host_ip: Option<IpAddr>,
    /// Which of the host's ports; `None` or 0: the kernel chooses a free one.
    pub host_port: Option<u16>,
    /// The last of several of which the first free one is taken, where `host_port` is the first; `None`: that one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port_last: Option<u16>,
    /// The container's port.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl PortMapping {
    /// The host's port, or the range of which one is taken, as people write it.
    pub fn host_ports(&self) -> Option<String> {
        let first = self.host_port?;
        Some(match self.host_port_last {
            Some(last) if last != first => format!("{first}-{last}"),
            _ => first.to_string(),
        })
    }
}

/// A port of the host that leads to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address; `None`: all of IPv4; ::: all of IPv6.
    pub host_ip: Option<IpAddr>,
    /// All of IPv6, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl PublishedPort {
    /// On which of the host's addresses it is published: those of IPv4 before those of IPv6, 0.0.0.0 and :: for all.
    pub fn host_addresses(&self) -> Vec<IpAddr> {
        let first = self.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        [first].into_iter().chain(self.ipv6.then_some(Ipv6Addr::UNSPECIFIED.into())).collect()
    }

    /// Whether nobody else can have its number on this address; 0.0.0.0 and :: stand for all.
    pub(crate) fn occupies(&self, address: IpAddr) -> bool {
        self.host_addresses().into_iter().any(|own| {
            let overlaps = own == address || own.is_unspecified() || address.is_unspecified();
            own.is_ipv4() == address.is_ipv4() && overlaps
        })
    }

    /// The same, as the packet filter takes it.
    pub(crate) fn to_rules(&self, target: Target) -> Vec<firewall::Published> {
        let rule = |host: IpAddr| {
            let container_address = match host {
                IpAddr::V4(_) => target.ipv4.into(),
                // Without an address there it is not published there: `reserve` refuses it.
                IpAddr::V6(_) => target.ipv6?.into(),
            };
            Some(firewall::Published {
                transport: self.protocol.into(),
                host_address: (!host.is_unspecified()).then_some(host),
                host_port: self.host_port,
                container_address,
                container_port: self.container_port,
            })
        };
        self.host_addresses().into_iter().filter_map(rule).collect()
    }
}

/// Where published ports lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Option<Ipv6Addr>,
}

/// The name that a container's first interface has inside.
pub(crate) const FIRST_INTERFACE: &str = "eth0";

/// Everything about a container's attachment that must survive a restart of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network. Containers of earlier versions are on the default bridge.
    #[serde(default = "NetworkId::bridge")]
    pub network: NetworkId,
    /// The name of the container's interface, inside.
    #[serde(default = "first_interface")]
    pub interface: String,
    /// The container's address.
    pub address: Ipv4Addr,
    /// How many of its bits name the subnet.
    pub prefix: u8,
    /// The bridge's address, where the container's default route can lead; none on an internal network.
    pub gateway: Option<Ipv4Addr>,
    /// Its place in IPv6, on a network that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Endpoint>,
    /// The hardware address of the container's interface.
    pub mac: [u8; 6],
    /// The name of the host's end of the veth pair.
    pub host_interface: String,
    /// The published ports, those that the kernel chose included. Of a container's endpoints one has them: that with
    /// the default route.
    pub ports: Vec<PublishedPort>,
}

/// A container's attachment in IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Endpoint {
    /// The container's address.
    pub address: Ipv6Addr,
    /// How many of its bits name the subnet.
    pub prefix: u8,
    /// The bridge's address, where the container's default route can lead; none on an internal network.
    pub gateway: Option<Ipv6Addr>,
}

impl Endpoint {
    /// All its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [IpAddr::V4(self.address)].into_iter().chain(self.ipv6.map(|ipv6| IpAddr::V6(ipv6.address)))
    }

    /// Where its published ports lead to.
    pub(crate) fn target(&self) -> Target {
        Target { ipv4: self.address, ipv6: self.ipv6.map(|ipv6| ipv6.address) }
    }
}

fn first_interface() -> String {
    FIRST_INTERFACE.to_owned()
}

/// The state of the networks, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The default bridge's name.
    pub bridge: String,
    /// The nf_tables table's name (family inet).
    pub table: String,
    /// Its containers' subnet, once it is chosen.
    pub subnet: Option<Subnet>,
    /// Its address, once there is one.
    pub gateway: Option<Ipv4Addr>,
    /// How many other bridges there are.
    pub others: usize,
    /// How many endpoints there are, on all bridges.
    pub attached: usize,
    /// How many ports are published.
    pub published: usize,
    /// How many namespaces stand ready.
    pub prepared: usize,
    /// Whether this process switched on `net.ipv4.ip_forward`, which was off before.
    pub enabled_forwarding: bool,
}

/// The hardware address that goes with an address: locally administered, and always the same. A neighbour that
/// remembers where the address was when another container had it therefore still remembers right.
pub(crate) fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}
