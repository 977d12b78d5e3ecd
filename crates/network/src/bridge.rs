// SPDX-License-Identifier: Apache-2.0
//! The bridge: found or made, with its address.

use netlink::route::{self, Address, Link};
use netlink::{Batch, Socket};

use crate::config::Config;
use crate::endpoint::hardware_address;
use crate::error::NetworkError;
use crate::subnet::{Subnet, choose};

/// The bridge as it stands in the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    pub(crate) subnet: Subnet,
    /// Whether it was made just now.
    pub(crate) created: bool,
}

/// Which subnet the bridge must have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// The first that collides with nothing.
    Any,
    /// This one, if it collides with nothing.
    Configured(Subnet),
    /// This one: containers have addresses of it.
    Adopted(Subnet),
}

impl Wanted {
    fn subnet(self) -> Option<Subnet> {
        match self {
            Wanted::Any => None,
            Wanted::Configured(subnet) | Wanted::Adopted(subnet) => Some(subnet),
        }
    }
}

/// The bridge, if there is one of that name; an interface of another kind is an error.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetworkError> {
    match route::link(socket, name)? {
        Some(link) if link.kind.as_deref() != Some("bridge") => Err(NetworkError::NotABridge { name: name.to_owned() }),
        other => Ok(other),
    }
}

/// Finds the bridge or makes it, and sees to its address.
pub(crate) fn establish(socket: &mut Socket, config: &Config, wanted: Wanted) -> Result<Bridge, NetworkError> {
    let link = find(socket, &config.bridge)?;
    let found = match &link {
        Some(link) => subnet_of(socket, link)?,
        None => None,
    };
    let subnet = match (wanted.subnet(), found) {
        (Some(wanted), Some(found)) if wanted != found => {
            return Err(NetworkError::OtherSubnet { bridge: config.bridge.clone(), found, wanted });
        }
        (_, Some(found)) => found,
        (_, None) => pick(socket, config, wanted)?,
    };
    let mut batch = Batch::new();
    let index = match &link {
        Some(link) => {
            route::set_up(&mut batch, link.index);
            link.index
        }
        None => create(socket, config, subnet)?,
    };
    let created = link.is_none();
    if found.is_none() {
        route::add_address(&mut batch, Address { link: index, address: subnet.gateway(), prefix: subnet.prefix() });
    }
    if let Err(error) = socket.execute(&mut batch) {
        if created {
            delete_after_failure(socket, &config.bridge);
        }
        return Err(error.into());
    }
    Ok(Bridge { index, subnet, created })
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

fn create(socket: &mut Socket, config: &Config, subnet: Subnet) -> Result<u32, NetworkError> {
    let mut batch = Batch::new();
    route::create_bridge(&mut batch, &config.bridge, hardware_address(subnet.gateway()));
    socket.execute(&mut batch)?;
    match route::link(socket, &config.bridge)? {
        Some(link) => Ok(link.index),
        None => Err(NetworkError::BridgeVanished { bridge: config.bridge.clone() }),
    }
}

/// The subnet that the bridge's address says it has; `None` if it has no address.
fn subnet_of(socket: &mut Socket, link: &Link) -> Result<Option<Subnet>, NetworkError> {
    let addresses = route::addresses(socket)?;
    let Some(first) = addresses.iter().find(|address| address.link == link.index) else { return Ok(None) };
    let subnet = Subnet::of(first.address, first.prefix);
    if first.address != subnet.gateway() || !subnet.can_hold_a_network() {
        let (bridge, address) = (link.name.clone(), first.address);
        return Err(NetworkError::BridgeAddress { bridge, address, prefix: first.prefix });
    }
    Ok(Some(subnet))
}

fn pick(socket: &mut Socket, config: &Config, wanted: Wanted) -> Result<Subnet, NetworkError> {
    let used = in_use(socket)?;
    match wanted {
        Wanted::Adopted(subnet) => Ok(subnet),
        Wanted::Configured(wanted) => match used.iter().find(|used| used.overlaps(wanted)) {
            Some(&other) => Err(NetworkError::SubnetTaken { wanted, other }),
            None => Ok(wanted),
        },
        Wanted::Any => choose(&config.address_pools, &used).ok_or(NetworkError::NoFreeSubnet),
    }
}

/// Everything this host has an address in or a route to, but for the default route.
fn in_use(socket: &mut Socket) -> Result<Vec<Subnet>, NetworkError> {
    let routes = route::routes(socket)?;
    let addresses = route::addresses(socket)?;
    let routes = routes.iter().filter(|route| route.prefix > 0).map(|r| Subnet::of(r.destination, r.prefix));
    Ok(routes.chain(addresses.iter().map(|a| Subnet::of(a.address, a.prefix))).collect())
}
