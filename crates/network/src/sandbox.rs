// SPDX-License-Identifier: Apache-2.0
//! A container's network namespace while something is done in it: an interface more, another default route.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink::Batch;
use netlink::route::{self, Address};
use rustix::io::Errno;

use crate::cable::Cable;
use crate::endpoint::Endpoint;
use crate::error::NetworkError;
use crate::namespace::{self, Namespace};

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
    pub(crate) fn plug(&mut self, cable: &Cable<'_>, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let link = cable.lay(&mut self.namespace)?;
        let mut batch = Batch::new();
        route::add_address(&mut batch, Address { link, address: endpoint.address, prefix: endpoint.prefix });
        Ok(self.namespace.socket.execute(&mut batch)?)
    }

    /// Sends what has no better route through this endpoint, or nowhere.
    ///
    /// # Errors
    /// The interface is gone, or the kernel refuses.
    pub fn set_default_route(&mut self, through: Option<&Endpoint>) -> Result<(), NetworkError> {
        let mut batch = Batch::new();
        match through.and_then(|endpoint| Some((endpoint, endpoint.gateway?))) {
            Some((endpoint, gateway)) => {
                let link = route::link(&mut self.namespace.socket, &endpoint.interface)?;
                let link = link.ok_or_else(|| NetworkError::NoInterface { interface: endpoint.interface.clone() })?;
                route::replace_default_route(&mut batch, link.index, gateway);
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

impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.descriptor.as_fd()
    }
}
