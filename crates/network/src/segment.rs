// SPDX-License-Identifier: Apache-2.0
//! A bridge and who is attached to it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use oci::ContainerId;

use crate::attachment::Attachment;
use crate::endpoint::{Endpoint, Ipv6Endpoint, hardware_address};
use crate::error::NetworkError;
use crate::ip::Ip;
use crate::layout::Layout;
use crate::lease::Leases;
use crate::spec::BridgeSpec;

/// A bridge and who is attached to it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) spec: BridgeSpec,
    pub(crate) index: u32,
    pub(crate) leases: Leases<Attachment>,
    /// Who has which IPv6 address, on a bridge that has IPv6. Each holder has an IPv4 lease as well.
    leases6: Option<Leases<ContainerId, Ipv6Addr>>,
    /// Addresses that somebody had with a hardware address of its own choice.
    known_otherwise: BTreeSet<Ipv4Addr>,
}

impl Segment {
    /// Nobody is attached yet.
    pub(crate) fn new(spec: &BridgeSpec, index: u32) -> Segment {
        let leases = Leases::new(&spec.ipv4);
        let leases6 = spec.ipv6.as_ref().map(Leases::new);
        Segment { spec: spec.clone(), index, leases, leases6, known_otherwise: BTreeSet::new() }
    }

    /// Whether a new holder must tell its neighbours which hardware address goes with its address. Mostly it is the one that
    /// went with it before, because it is made of the address; and what is told to all of a thousand containers takes its time.
    pub(crate) fn must_announce(&self, endpoint: &Endpoint) -> bool {
        self.known_otherwise.contains(&endpoint.address)
    }

    /// The address that is wished for, or the next one.
    pub(crate) fn address_for(&mut self, wished: Option<Ipv4Addr>) -> Result<Ipv4Addr, NetworkError> {
        let layout = &self.spec.ipv4;
        match wished {
            Some(wished) => wish(layout, &self.leases, wished, |held| &held.container),
            None => next(layout, &mut self.leases),
        }
    }

    /// The same in IPv6, on a bridge that has it. Where nothing is wished and nothing stands against it, it is the one that
    /// stands where the IPv4 address does in its network: it comes back with the same hardware address, then.
    pub(crate) fn ipv6_for(
        &mut self,
        wished: Option<Ipv6Addr>,
        address: Ipv4Addr,
    ) -> Result<Option<Ipv6Endpoint>, NetworkError> {
        let Some((layout, leases)) = self.spec.ipv6.as_ref().zip(self.leases6.as_mut()) else {
            return match wished {
                Some(address) => {
                    Err(NetworkError::WithoutIpv6 { bridge: self.spec.bridge.clone(), address: address.into() })
                }
                None => Ok(None),
            };
        };
        let offset = address.to_number() - self.spec.ipv4.subnet.network().to_number();
        let address = match (wished, leases.free_at(layout, offset)) {
            (Some(wished), _) => wish(layout, leases, wished, |holder| holder)?,
            (None, Some(address)) => address,
            (None, None) => next(layout, leases)?,
        };
        let gateway = (!self.spec.traits.internal).then_some(layout.gateway);
        Ok(Some(Ipv6Endpoint { address, prefix: layout.subnet.prefix(), gateway }))
    }

    /// Leases an endpoint's addresses.
    ///
    /// # Errors
    /// One of them is taken, or not of this network. Nothing is leased then.
    pub(crate) fn claim(&mut self, endpoint: &Endpoint, attachment: Attachment) -> Result<(), NetworkError> {
        let container = attachment.container.clone();
        let claimed = self.leases.claim(&self.spec.ipv4, endpoint.address, attachment);
        claimed.map_err(|refused| taken(&refused.container, endpoint.address, &self.spec.ipv4))?;
        let layouts = self.spec.ipv6.as_ref().zip(self.leases6.as_mut());
        if let (Some(ipv6), Some((layout, leases))) = (endpoint.ipv6, layouts)
            && let Err(refused) = leases.claim(layout, ipv6.address, container)
        {
            let error = taken(&refused, ipv6.address, layout);
            self.leases.end(endpoint.address);
            return Err(error);
        }
        if endpoint.mac != hardware_address(endpoint.address) {
            self.known_otherwise.insert(endpoint.address);
        }
        Ok(())
    }

    /// Ends the leases of an endpoint that has them.
    pub(crate) fn end(&mut self, endpoint: &Endpoint) {
        self.leases.end(endpoint.address);
        if let (Some(ipv6), Some(leases)) = (endpoint.ipv6, self.leases6.as_mut()) {
            leases.end(ipv6.address);
        }
    }
}

/// The address that is wished for.
fn wish<A: Ip, T>(
    layout: &Layout<A>,
    leases: &Leases<T, A>,
    address: A,
    who: impl Fn(&T) -> &ContainerId,
) -> Result<A, NetworkError> {
    if !layout.subnet.has_host(address) {
        let (address, subnet) = (address.into(), A::any(layout.subnet));
        return Err(NetworkError::Outside { what: "container's address", address, subnet });
    }
    let holder = leases.holder(address).map(|holder| who(holder).short().to_owned());
    if holder.is_some() || !layout.is_for_containers(address) {
        return Err(NetworkError::AddressNotFree { address: address.into(), holder });
    }
    Ok(address)
}

/// The lowest address that is free.
fn next<A: Ip, T>(layout: &Layout<A>, leases: &mut Leases<T, A>) -> Result<A, NetworkError> {
    let free = leases.free_address(layout);
    free.ok_or_else(|| NetworkError::NoFreeAddress { subnet: A::any(layout.subnet), capacity: leases.capacity(layout) })
}

fn taken<A: Ip>(container: &ContainerId, address: A, layout: &Layout<A>) -> NetworkError {
    let (address, subnet) = (address.into(), A::any(layout.subnet));
    NetworkError::AddressTaken { container: container.to_string(), address, subnet }
}
