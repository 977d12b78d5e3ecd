// SPDX-License-Identifier: Apache-2.0
//! Bridges: found or made, each with its address; and the choice of a subnet that collides with nothing.

use std::net::Ipv6Addr;

use netlink::route::{self, Address, Link};
use netlink::{Batch, Socket};

use crate::cable::INTERFACE_PREFIX;
use crate::config::{AddressPool, Config};
use crate::endpoint::hardware_address;
use crate::error::NetworkError;
use crate::ip::Ip;
use crate::layout::Layout;
use crate::setting;
use crate::spec::BridgeSpec;
use crate::subnet::{Subnet, choose};

/// A bridge as it stands in the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    /// Whether it was made just now.
    pub(crate) created: bool,
}

/// The bridge, if there is one of that name; an interface of another kind is an error.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetworkError> {
    match route::link(socket, name)? {
        Some(link) if link.kind.as_deref() != Some("bridge") => Err(NetworkError::NotABridge { name: name.to_owned() }),
        other => Ok(other),
    }
}

/// Finds the bridge or makes it, and sees to its addresses.
pub(crate) fn establish(socket: &mut Socket, spec: &BridgeSpec) -> Result<Bridge, NetworkError> {
    let link = find(socket, &spec.bridge)?;
    let found = match &link {
        Some(link) => address_of(socket, link)?,
        None => None,
    };
    if let Some(found) = found
        && (found.address, found.prefix) != (spec.ipv4.gateway, spec.ipv4.subnet.prefix())
    {
        let (found, wanted) = (Subnet::of(found.address, found.prefix), spec.ipv4.subnet);
        return Err(NetworkError::OtherSubnet { bridge: spec.bridge.clone(), found, wanted });
    }
    let mut batch = Batch::new();
    let index = match &link {
        Some(link) => {
            route::set_up(&mut batch, link.index);
            link.index
        }
        None => create(socket, spec)?,
    };
    let created = link.is_none();
    if found.is_none() {
        route::add_address(&mut batch, gateway(index, &spec.ipv4));
    }
    let settled = match &spec.ipv6 {
        None => setting::without_ipv6(&spec.bridge),
        Some(layout) => with_ipv6(socket, &mut batch, (index, &spec.bridge), layout),
    };
    let settled = settled.and_then(|()| Ok(socket.execute(&mut batch)?));
    if let Err(error) = settled {
        if created {
            delete_after_failure(socket, &spec.bridge);
        }
        return Err(error);
    }
    Ok(Bridge { index, created })
}

/// Gives a bridge IPv6, and its address unless it has it.
fn with_ipv6(
    socket: &mut Socket,
    batch: &mut Batch,
    (index, bridge): (u32, &str),
    layout: &Layout<Ipv6Addr>,
) -> Result<(), NetworkError> {
    setting::with_ipv6(bridge)?;
    let wanted = gateway(index, layout);
    if !route::addresses(socket)?.contains(&wanted) {
        route::add_address(batch, wanted);
    }
    Ok(())
}

fn gateway<A: Ip>(link: u32, layout: &Layout<A>) -> Address<A> {
    Address { link, address: layout.gateway, prefix: layout.subnet.prefix() }
}

/// Deletes the bridge on the way out of a failure, which is what the caller will hear of.
pub(crate) fn delete_after_failure(socket: &mut Socket, name: &str) {
    if let Err(error) = delete(socket, name) {
        tracing::warn!(error = %errors::chain(&error), "a half-made bridge is left behind");
    }
}

/// Deletes an interface; that it is gone already is as good.
pub(crate) fn delete(socket: &mut Socket, name: &str) -> Result<(), NetworkError> {
    let mut batch = Batch::new();
    route::delete_link(&mut batch, name);
    match socket.execute(&mut batch) {
        Err(error) if error.refusal() == Some(rustix::io::Errno::NODEV) => Ok(()),
        other => Ok(other?),
    }
}

/// Deletes the ports of bridges that we named, but for those that `keeps`.
pub(crate) fn delete_ports(
    socket: &mut Socket,
    bridges: &[u32],
    keeps: impl Fn(&str) -> bool,
) -> Result<(), NetworkError> {
    for link in route::links(socket)? {
        let ours = link.master.is_some_and(|master| bridges.contains(&master));
        if ours && link.name.starts_with(INTERFACE_PREFIX) && !keeps(&link.name) {
            delete(socket, &link.name)?;
        }
    }
    Ok(())
}

fn create(socket: &mut Socket, spec: &BridgeSpec) -> Result<u32, NetworkError> {
    let mut batch = Batch::new();
    route::create_bridge(&mut batch, &spec.bridge, hardware_address(spec.ipv4.gateway), spec.traits.mtu);
    socket.execute(&mut batch)?;
    match route::link(socket, &spec.bridge)? {
        Some(link) => Ok(link.index),
        None => Err(NetworkError::BridgeVanished { bridge: spec.bridge.clone() }),
    }
}

fn address_of(socket: &mut Socket, link: &Link) -> Result<Option<Address>, NetworkError> {
    let addresses = route::addresses(socket)?;
    Ok(addresses.into_iter().find(|address| address.link == link.index))
}

/// The default bridge's subnet: what its address says if it has one, else what the configuration says, else the first
/// that collides with nothing on this host and in `taken`.
pub(crate) fn default_subnet(socket: &mut Socket, config: &Config, taken: &[Subnet]) -> Result<Subnet, NetworkError> {
    let configured = config.subnet.map(|(address, prefix)| Subnet::of(address, prefix));
    let link = find(socket, &config.bridge)?;
    let found = match &link {
        Some(link) => address_of(socket, link)?,
        None => None,
    };
    let Some(found) = found else {
        let used = [in_use(socket)?, taken.to_vec()].concat();
        return match configured {
            Some(wanted) => refuse_overlap(wanted, &used).map(|()| wanted),
            None => choose(&config.address_pools, &used).ok_or(NetworkError::NoFreeSubnet),
        };
    };
    let subnet = Subnet::of(found.address, found.prefix);
    let bridge = config.bridge.clone();
    if found.address != subnet.gateway() || subnet.check().is_err() {
        return Err(NetworkError::BridgeAddress { bridge, address: found.address, prefix: found.prefix });
    }
    match configured.filter(|wanted| *wanted != subnet) {
        Some(wanted) => Err(NetworkError::OtherSubnet { bridge, found: subnet, wanted }),
        None => Ok(subnet),
    }
}

/// A subnet for another network, that collides with nothing on this host and in `taken`.
pub(crate) fn free_subnet<A: Ip>(
    socket: &mut Socket,
    pools: &[AddressPool<A>],
    taken: &[Subnet<A>],
) -> Result<Subnet<A>, NetworkError> {
    let used = [in_use(socket)?, taken.to_vec()].concat();
    choose(pools, &used).ok_or(NetworkError::NoFreeSubnet)
}

/// Refuses a subnet in which this host has an address. One that a router is asked about can be had: what is nearer wins.
pub(crate) fn refuse_neighbours<A: Ip>(socket: &mut Socket, wanted: Subnet<A>) -> Result<(), NetworkError> {
    let addresses = route::addresses(socket)?;
    let neighbours: Vec<Subnet<A>> = addresses.iter().map(|a| Subnet::of(a.address, a.prefix)).collect();
    refuse_overlap(wanted, &neighbours)
}

fn refuse_overlap<A: Ip>(wanted: Subnet<A>, used: &[Subnet<A>]) -> Result<(), NetworkError> {
    match used.iter().find(|used| used.overlaps(wanted)) {
        Some(&other) => Err(NetworkError::SubnetTaken { wanted: A::any(wanted), other: A::any(other) }),
        None => Ok(()),
    }
}

/// Everything this host has an address in or a route to, but for the default route.
fn in_use<A: Ip>(socket: &mut Socket) -> Result<Vec<Subnet<A>>, NetworkError> {
    let routes = route::routes(socket)?;
    let addresses = route::addresses(socket)?;
    let routes = routes.iter().filter(|route| route.prefix > 0).map(|r| Subnet::of(r.destination, r.prefix));
    Ok(routes.chain(addresses.iter().map(|a| Subnet::of(a.address, a.prefix))).collect())
}
