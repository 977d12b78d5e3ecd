// SPDX-License-Identifier: Apache-2.0
//! What can go wrong between a container and its network.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use errors::{Classify, Kind, kind_of_io};
use firewall::FirewallError;
use netlink::NetlinkError;

use crate::endpoint::Protocol;
use crate::id::NetworkId;
use crate::port_holder::PortHolder;
use crate::subnet::{AnySubnet, Subnet};

/// Why a container is not in the network. Whatever was made on the way has been removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The kernel refused something about links, addresses or routes.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The packet filter refused something.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// No new network namespace.
    #[error("cannot make a network namespace")]
    Unshare(#[source] sys::Error),
    /// The new network namespace cannot be held.
    #[error("cannot open the new network namespace")]
    OpenNamespace(#[source] io::Error),
    /// The new namespace lacks the interface that was made in it.
    #[error("the interface {interface} is missing in the network namespace it was made in")]
    InterfaceVanished {
        /// Its name.
        interface: String,
    },
    /// A container's network namespace cannot be entered.
    #[error("cannot enter the container's network namespace")]
    Enter(#[source] sys::Error),
    /// No such interface in the container, where its record says there is one.
    #[error("the container has no interface {interface}")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// No thread to work in.
    #[error("cannot start the thread that makes network namespaces")]
    Thread(#[source] io::Error),
    /// That thread panicked.
    #[error("the thread that makes network namespaces panicked")]
    ThreadPanicked,
    /// The kernel gives no random numbers.
    #[error("cannot choose at random a name for an interface, or addresses")]
    Random(#[source] io::Error),
    /// A kernel setting could not be read or written.
    #[error("cannot set {path} to {value}")]
    Setting {
        /// Its file.
        path: String,
        /// What it should become.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A kernel setting could not be read.
    #[error("cannot read {path}")]
    ReadSetting {
        /// Its file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no IPv6 here.
    #[error("the kernel of this host has no IPv6")]
    NoIpv6,
    /// A name that stands for all interfaces.
    #[error("a bridge cannot be called {0:?}: the kernel's settings of all interfaces are called so")]
    NameForAll(String),
    /// A name that no interface or table can have.
    #[error(
        "{name:?} is not a name for a {what}: 1 to {longest} letters, digits, '-', '_' and '.', not beginning with '-' or '.'"
    )]
    Name {
        /// "bridge" or "table".
        what: &'static str,
        /// The name.
        name: String,
        /// In bytes.
        longest: usize,
    },
    /// A subnet of a useless size.
    #[error("the subnet {subnet} cannot be used: its prefix must be between /{least} and /{most}")]
    SubnetSize {
        /// The subnet.
        subnet: AnySubnet,
        /// The shortest.
        least: u8,
        /// The longest.
        most: u8,
    },
    /// A subnet whose addresses are no hosts'.
    #[error("the subnet {subnet} cannot be used: its addresses are for a link, for groups or for other purposes")]
    NotForHosts {
        /// The subnet.
        subnet: AnySubnet,
    },
    /// The bridge's name belongs to an interface of another kind.
    #[error("the interface {name} exists and is not a bridge")]
    NotABridge {
        /// Its name.
        name: String,
    },
    /// The bridge vanished while it was being made.
    #[error("the bridge {bridge} was deleted while it was being set up")]
    BridgeVanished {
        /// Its name.
        bridge: String,
    },
    /// The bridge has an address that Corten would not have given it.
    #[error("the bridge {bridge} has the address {address}/{prefix}, which is not the first of a usable subnet")]
    BridgeAddress {
        /// Its name.
        bridge: String,
        /// The address it has.
        address: Ipv4Addr,
        /// How many of its bits name the network.
        prefix: u8,
    },
    /// The bridge is there with another subnet.
    #[error("the bridge {bridge} has the subnet {found}, not {wanted}")]
    OtherSubnet {
        /// Its name.
        bridge: String,
        /// The subnet it has.
        found: Subnet,
        /// The subnet it should have.
        wanted: Subnet,
    },
    /// Another process manages a bridge or table of that name in this network namespace.
    #[error("another process manages the {what} {name}")]
    Managed {
        /// "bridge" or "table".
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The claim to the bridge and table could not be made.
    #[error("cannot claim the {what} {name} for this process")]
    Claim {
        /// "bridge" or "table".
        what: &'static str,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Every candidate for a subnet collides with an address or route of the host.
    #[error("every subnet of the address pools overlaps an address or a route of this host")]
    NoFreeSubnet,
    /// The wanted subnet does.
    #[error("the subnet {wanted} overlaps {other}, to which this host has an address or a route")]
    SubnetTaken {
        /// What was asked for.
        wanted: AnySubnet,
        /// What is there.
        other: AnySubnet,
    },
    /// A gateway, a range or reserved addresses were given without the subnet that they are of.
    #[error("a gateway, a range of addresses or reserved addresses need a subnet beside them")]
    WithoutSubnet,
    /// An address is not one of the subnet's.
    #[error("the {what} {address} is not an address for a host in the subnet {subnet}")]
    Outside {
        /// What it is for.
        what: &'static str,
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: AnySubnet,
    },
    /// The range is not a part of the subnet.
    #[error("the range {range} is not a part of the subnet {subnet}")]
    RangeOutside {
        /// The range.
        range: AnySubnet,
        /// The subnet.
        subnet: AnySubnet,
    },
    /// Packets of a length that no bridge carries.
    #[error("the longest packet must have from {least} to {most} bytes, not {mtu}")]
    Mtu {
        /// What was asked for.
        mtu: u32,
        /// The least.
        least: u32,
        /// The most.
        most: u32,
    },
    /// The wanted subnet overlaps another network's.
    #[error("the subnet {wanted} overlaps {other}, which another network of Corten's has")]
    SubnetOfAnother {
        /// What was asked for.
        wanted: AnySubnet,
        /// What is there.
        other: AnySubnet,
    },
    /// There is an interface of that name already, which the network would not have made.
    #[error("an interface {bridge} exists already")]
    InterfaceExists {
        /// Its name.
        bridge: String,
    },
    /// No network has this id.
    #[error("no bridge network has the id {0}")]
    Unknown(NetworkId),
    /// Containers are attached.
    #[error("the bridge {bridge} has {attached} endpoints")]
    InUse {
        /// Its name.
        bridge: String,
        /// How many.
        attached: usize,
    },
    /// The endpoint was released.
    #[error("the container is not attached any more")]
    Gone,
    /// The wished address is another container's, or nobody may have it.
    #[error("the address {address} is {}", taken(.holder))]
    AddressNotFree {
        /// The address.
        address: IpAddr,
        /// The short id of the container that has it.
        holder: Option<String>,
    },
    /// All addresses are leased.
    #[error("all {capacity} addresses of the subnet {subnet} are in use")]
    NoFreeAddress {
        /// The subnet.
        subnet: AnySubnet,
        /// How many containers fit into it.
        capacity: u64,
    },
    /// An adopted container's address is leased already, or is none of the subnet's.
    #[error("the container {container} cannot keep the address {address}: it is taken, or not of the subnet {subnet}")]
    AddressTaken {
        /// The container's id.
        container: String,
        /// Its address.
        address: IpAddr,
        /// The subnet.
        subnet: AnySubnet,
    },
    /// The host's port is in use.
    #[error("port {port}/{protocol} is already in use on {address}{}", by(.holder))]
    PortTaken {
        /// The host's address; 0.0.0.0 or :: for all of a family.
        address: IpAddr,
        /// The port.
        port: u16,
        /// TCP or UDP.
        protocol: Protocol,
        /// Who has it, if that is known.
        holder: Option<PortHolder>,
    },
    /// All of the host's ports that would do are in use.
    #[error("all ports from {first} to {last} ({protocol}) are already in use on {address}")]
    RangeTaken {
        /// The host's address; 0.0.0.0 or :: for all of a family.
        address: IpAddr,
        /// The lowest of them.
        first: u16,
        /// The highest.
        last: u16,
        /// TCP or UDP.
        protocol: Protocol,
    },
    /// The host has no such address.
    #[error("cannot publish port {port}/{protocol} on {address}: this host has no such address")]
    NotOurAddress {
        /// What was asked for.
        address: IpAddr,
        /// The port.
        port: u16,
        /// TCP or UDP.
        protocol: Protocol,
    },
    /// The host's port cannot be had for another reason.
    #[error("cannot reserve port {port}/{protocol} on {address}")]
    Port {
        /// The host's address; 0.0.0.0 or :: for all of a family.
        address: IpAddr,
        /// The port.
        port: u16,
        /// TCP or UDP.
        protocol: Protocol,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A container that has no IPv6 address cannot be reached by one of the host's.
    #[error("cannot publish a port on {address}: the network that leads outside gives the container no IPv6 address")]
    Ipv6Port {
        /// What was asked for.
        address: IpAddr,
    },
    /// What is sent to ::1 never leaves it.
    #[error("cannot publish a port on ::1: the kernel lets nothing from ::1 out of its loopback, nor answers back in")]
    Ipv6Loopback,
    /// A container wants an IPv6 address in a network that has none.
    #[error("the bridge {bridge} has no IPv6, and no place for {address}")]
    WithoutIpv6 {
        /// The bridge's name.
        bridge: String,
        /// What was asked for.
        address: IpAddr,
    },
    /// There is no port 0.
    #[error("the container's port must be between 1 and 65535")]
    PortZero,
}

fn by(holder: &Option<PortHolder>) -> String {
    holder.as_ref().map(|holder| format!(", by {holder}")).unwrap_or_default()
}

fn taken(holder: &Option<String>) -> String {
    match holder {
        Some(container) => format!("already in use by container {container}"),
        None => "reserved".to_owned(),
    }
}

impl NetworkError {
    /// Whether a setting's interface is not there any more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, NetworkError::ReadSetting { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Classify for NetworkError {
    fn kind(&self) -> Kind {
        match self {
            NetworkError::Netlink(source) => source.kind(),
            NetworkError::Firewall(source) => source.kind(),
            NetworkError::Unshare(source) | NetworkError::Enter(source) => kind_of_io(&source.to_io()),
            NetworkError::OpenNamespace(_)
            | NetworkError::Random(_)
            | NetworkError::ThreadPanicked
            | NetworkError::InterfaceVanished { .. }
            | NetworkError::NoInterface { .. } => Kind::Internal,
            NetworkError::Thread(source)
            | NetworkError::Setting { source, .. }
            | NetworkError::ReadSetting { source, .. }
            | NetworkError::Claim { source, .. }
            | NetworkError::Port { source, .. } => kind_of_io(source),
            NetworkError::Name { .. }
            | NetworkError::NameForAll(_)
            | NetworkError::SubnetSize { .. }
            | NetworkError::NotForHosts { .. }
            | NetworkError::WithoutIpv6 { .. }
            | NetworkError::NotOurAddress { .. }
            | NetworkError::WithoutSubnet
            | NetworkError::Outside { .. }
            | NetworkError::RangeOutside { .. }
            | NetworkError::Mtu { .. }
            | NetworkError::PortZero => Kind::InvalidArgument,
            NetworkError::NotABridge { .. }
            | NetworkError::OtherSubnet { .. }
            | NetworkError::BridgeVanished { .. }
            | NetworkError::BridgeAddress { .. }
            | NetworkError::Managed { .. }
            | NetworkError::NoFreeSubnet
            | NetworkError::SubnetTaken { .. }
            | NetworkError::SubnetOfAnother { .. }
            | NetworkError::InterfaceExists { .. }
            | NetworkError::InUse { .. }
            | NetworkError::Gone
            | NetworkError::AddressNotFree { .. }
            | NetworkError::AddressTaken { .. }
            | NetworkError::PortTaken { .. }
            | NetworkError::RangeTaken { .. } => Kind::Conflict,
            NetworkError::Unknown(_) => Kind::NotFound,
            NetworkError::NoFreeAddress { .. } => Kind::Unavailable,
            NetworkError::Ipv6Port { .. } | NetworkError::Ipv6Loopback | NetworkError::NoIpv6 => Kind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            NetworkError::Netlink(source) => return source.hint(),
            NetworkError::Firewall(source) => return source.hint(),
            NetworkError::Unshare(_) | NetworkError::Setting { .. } if self.kind() == Kind::PermissionDenied => {
                "containers with a network need root".to_owned()
            }
            NetworkError::NotABridge { name } => {
                format!("rename or delete the interface {name}, or give Corten's bridge another name")
            }
            NetworkError::OtherSubnet { bridge, .. } | NetworkError::BridgeAddress { bridge, .. } => {
                format!("delete the bridge {bridge} while no container uses it, or configure the subnet it has")
            }
            NetworkError::Managed { .. } => "give each daemon a bridge and a table of its own".to_owned(),
            NetworkError::NoFreeSubnet | NetworkError::SubnetTaken { .. } | NetworkError::SubnetOfAnother { .. } => {
                "give a subnet that neither this host nor another network uses".to_owned()
            }
            NetworkError::InterfaceExists { bridge } => {
                format!("give another name, or delete the interface {bridge}: Corten makes its bridges itself")
            }
            NetworkError::AddressNotFree { .. } => "give another address, or none to have one chosen".to_owned(),
            NetworkError::NoFreeAddress { .. } => "remove a container, or configure a larger subnet".to_owned(),
            NetworkError::RangeTaken { .. } => {
                "give a longer range, or stop one of those who have these ports".to_owned()
            }
            NetworkError::Ipv6Port { .. } => {
                "put the container into a network that was made with --ipv6, or publish on an IPv4 address".to_owned()
            }
            NetworkError::Ipv6Loopback => "publish on 127.0.0.1: who tries ::1 first tries that next".to_owned(),
            NetworkError::PortTaken { .. } => {
                "publish another port of the host, or stop whoever has this one".to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }
}
