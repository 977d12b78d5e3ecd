// SPDX-License-Identifier: Apache-2.0
//! A container's network namespace while something is done in it: an interface more, another default route.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink::route::{self, Address};
use netlink::{Batch, Protocol, Socket};
use rustix::io::Errno;

use crate::cable::{self, Cable, Ends};
use crate::endpoint::Endpoint;
use crate::error::NetworkError;
use crate::namespace::{self, Namespace};
use crate::{neighbour, setting};

/// How a container's interfaces are called, inside: this and a number.
const INTERFACE: &str = "eth";

/// A container's network namespace, open for changes.
#[derive(Debug)]
pub struct Sandbox {
    namespace: Namespace,
}

impl Sandbox {
    /// Opens a network namespace.
    ///
    /// # Errors
    /// It is no network namespace, or may not be entered.
    pub fn open(namespace: OwnedFd) -> Result<Sandbox, NetworkError> {
        Ok(Sandbox { namespace: namespace::open(namespace)? })
    }

    /// The namespace, for a process to be started in.
    pub fn into_descriptor(self) -> OwnedFd {
        self.namespace.descriptor
    }

    /// The name of the next interface: the first that none has.
    pub(crate) fn free_interface(&mut self) -> Result<String, NetworkError> {
        let links = route::links(&mut self.namespace.socket)?;
        let is_free = |name: &String| links.iter().all(|link| link.name != *name);
        // One of so many names is free.
        let mut names = (0..=links.len()).map(|number| format!("{INTERFACE}{number}"));
        names.find(is_free).ok_or_else(|| NetworkError::InterfaceVanished { interface: INTERFACE.to_owned() })
    }

    /// Makes the endpoint's interface, with its addresses.
    pub(crate) fn plug(&mut self, cable: &Cable<'_>, endpoint: &Endpoint, announce: bool) -> Result<(), NetworkError> {
        let Ends { interface: link, port } = cable.lay(&mut self.namespace)?;
        cable::introduce(&mut Socket::open(Protocol::Route)?, (cable.bridge, port), endpoint)?;
        let descriptor = self.namespace.descriptor.as_fd();
        let mut batch = Batch::new();
        route::add_address(&mut batch, Address { link, address: endpoint.address, prefix: endpoint.prefix });
        if announce {
            namespace::inside(descriptor, || setting::announces_itself(cable.interface))?;
        }
        let Some(ipv6) = endpoint.ipv6 else {
            if announce {
                route::set_hardware_address(&mut batch, link, endpoint.mac);
            }
            return Ok(self.namespace.socket.execute(&mut batch)?);
        };
        namespace::inside(descriptor, || setting::container_with_ipv6(cable.interface))?;
        route::add_address(&mut batch, Address { link, address: ipv6.address, prefix: ipv6.prefix });
        // It has this one already; but told again, it tells its neighbours where the address is now.
        route::set_hardware_address(&mut batch, link, endpoint.mac);
        self.namespace.socket.execute(&mut batch)?;
        namespace::inside(descriptor, || neighbour::wait_until_found(cable.interface, ipv6.address))
    }

    /// Sends what has no better route through this endpoint, or nowhere.
    ///
    /// # Errors
    /// The interface is gone, or the kernel refuses.
    pub fn set_default_route(&mut self, through: Option<&Endpoint>) -> Result<(), NetworkError> {
        let mut batch = Batch::new();
        match through.and_then(|endpoint| Some((endpoint, endpoint.gateway?))) {
            Some((endpoint, gateway)) => {
                route::replace_default_route(&mut batch, self.interface_of(endpoint)?, gateway);
            }
            None => route::delete_default_route(&mut batch),
        }
        match self.namespace.socket.execute(&mut batch) {
            // There was none to delete.
            Err(error) if error.refusal() == Some(Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

impl Sandbox {
    /// Sends by IPv6 what has no better route through this endpoint, if that leads outside in IPv6. A former one that led
    /// elsewhere went with its interface.
    ///
    /// # Errors
    /// The interface is gone, or the kernel refuses.
    pub fn set_ipv6_default_route(&mut self, through: &Endpoint) -> Result<(), NetworkError> {
        let Some(gateway) = through.ipv6.and_then(|ipv6| ipv6.gateway) else { return Ok(()) };
        let mut batch = Batch::new();
        route::replace_default_route(&mut batch, self.interface_of(through)?, gateway);
        Ok(self.namespace.socket.execute(&mut batch)?)
    }

    /// The number of the endpoint's interface.
    fn interface_of(&mut self, endpoint: &Endpoint) -> Result<u32, NetworkError> {
        let link = route::link(&mut self.namespace.socket, &endpoint.interface)?;
        Ok(link.ok_or_else(|| NetworkError::NoInterface { interface: endpoint.interface.clone() })?.index)
    }
}

impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.descriptor.as_fd()
    }
}
