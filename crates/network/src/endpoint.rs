// SPDX-License-Identifier: Apache-2.0
//! A container's place in the network, in the words of those who ask for it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

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
    /// On which of the host's addresses; `None` or 0.0.0.0: on all (IPv4) of them.
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
    /// The host's address; `None`: all (IPv4) of them.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl PublishedPort {
    /// The same, as the packet filter takes it.
    pub(crate) fn to_rule(&self, container_address: Ipv4Addr) -> firewall::Published {
        let host_address = match self.host_ip {
            Some(IpAddr::V4(address)) => Some(address),
            // Nothing is published on IPv6: `attach` refuses it.
            Some(IpAddr::V6(_)) | None => None,
        };
        firewall::Published {
            transport: self.protocol.into(),
            host_address,
            host_port: self.host_port,
            container_address,
            container_port: self.container_port,
        }
    }
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
    /// The hardware address of the container's interface.
    pub mac: [u8; 6],
    /// The name of the host's end of the veth pair.
    pub host_interface: String,
    /// The published ports, those that the kernel chose included. Of a container's endpoints one has them: that with
    /// the default route.
    pub ports: Vec<PublishedPort>,
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
