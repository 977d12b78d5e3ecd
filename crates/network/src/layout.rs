// SPDX-License-Identifier: Apache-2.0
//! A network's addresses in one family: the wish for them, and the decision.

use std::net::Ipv4Addr;

use crate::error::NetworkError;
use crate::ip::Ip;
use crate::subnet::Subnet;

/// The wish for a network's addresses. What is absent is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutWish<A = Ipv4Addr> {
    /// All of them.
    pub subnet: Option<Subnet<A>>,
    /// The bridge's own address; the subnet's first when absent.
    pub gateway: Option<A>,
    /// The part of the subnet from which addresses are chosen; all of it when absent.
    pub range: Option<Subnet<A>>,
    /// Addresses that no container gets.
    pub reserved: Vec<A>,
}

/// A network's addresses as they were decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout<A = Ipv4Addr> {
    /// All of them.
    pub subnet: Subnet<A>,
    /// The bridge's own address.
    pub gateway: A,
    /// The part of the subnet from which addresses are chosen.
    pub range: Option<Subnet<A>>,
    /// Addresses that no container gets.
    pub reserved: Vec<A>,
}

impl<A> Default for LayoutWish<A> {
    fn default() -> LayoutWish<A> {
        LayoutWish { subnet: None, gateway: None, range: None, reserved: Vec::new() }
    }
}

impl<A: Ip> Layout<A> {
    /// Whether a container may have this address, if nobody else has it.
    pub(crate) fn is_for_containers(&self, address: A) -> bool {
        self.subnet.has_host(address) && address != self.gateway && !self.reserved.contains(&address)
    }
}

impl<A: Ip> LayoutWish<A> {
    /// Refuses what cannot be, before anything is chosen.
    pub(crate) fn validate(&self) -> Result<(), NetworkError> {
        match self.subnet {
            Some(subnet) => subnet.check(),
            None if self.gateway.is_some() || self.range.is_some() || !self.reserved.is_empty() => {
                Err(NetworkError::WithoutSubnet)
            }
            None => Ok(()),
        }
    }

    /// The decision, with this subnet.
    pub(crate) fn decide(self, subnet: Subnet<A>) -> Result<Layout<A>, NetworkError> {
        let gateway = self.gateway.unwrap_or(subnet.gateway());
        let outside =
            |what, address: A| Err(NetworkError::Outside { what, address: address.into(), subnet: A::any(subnet) });
        if !subnet.has_host(gateway) {
            return outside("gateway", gateway);
        }
        if let Some(range) = self.range
            && !(subnet.contains(range.network()) && subnet.contains(range.last()))
        {
            return Err(NetworkError::RangeOutside { range: A::any(range), subnet: A::any(subnet) });
        }
        if let Some(&address) = self.reserved.iter().find(|&&address| !subnet.contains(address)) {
            return outside("reserved address", address);
        }
        let LayoutWish { range, reserved, .. } = self;
        Ok(Layout { subnet, gateway, range, reserved })
    }
}
