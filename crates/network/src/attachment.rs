// SPDX-License-Identifier: Apache-2.0
//! What is remembered of an endpoint: whose it is, and what it publishes.

use std::os::fd::OwnedFd;

use firewall::Published;
use oci::ContainerId;

use crate::endpoint::{Endpoint, PortMapping, PublishedPort};
use crate::error::NetworkError;
use crate::port;

/// What is remembered of an attached container.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) container: ContainerId,
    pub(crate) host_interface: String,
    pub(crate) publication: Publication,
}

/// Published ports.
#[derive(Debug, Default)]
pub(crate) struct Publication {
    /// Those that redirect.
    pub(crate) rules: Vec<Published>,
    /// Those that are held back: their ports are reserved, and who connects is refused.
    pub(crate) held_back: Vec<Published>,
    pub(crate) ports: Vec<PublishedPort>,
    /// Sockets bound to the published ports.
    _reservations: Vec<OwnedFd>,
}

impl Publication {
    /// Reserves what the mappings ask for; `explain` is told what each failure collided with so far.
    pub(crate) fn reserve(
        mappings: &[PortMapping],
        address: std::net::Ipv4Addr,
        explain: impl Fn(NetworkError, &[PublishedPort]) -> NetworkError,
    ) -> Result<Publication, NetworkError> {
        let (mut reservations, mut ports) = (Vec::with_capacity(mappings.len()), Vec::with_capacity(mappings.len()));
        for mapping in mappings {
            let (socket, port) = port::reserve(mapping).map_err(|error| explain(error, &ports))?;
            reservations.push(socket);
            ports.push(port);
        }
        let rules = ports.iter().map(|port| port.to_rule(address)).collect();
        Ok(Publication { rules, held_back: Vec::new(), ports, _reservations: reservations })
    }
}

impl Attachment {
    /// That of a container which a former daemon attached. A port that somebody took meanwhile is only warned of: its
    /// traffic goes to the container all the same.
    pub(crate) fn adopted(container: &ContainerId, endpoint: &Endpoint) -> Attachment {
        let mut reservations = Vec::new();
        for published in &endpoint.ports {
            match port::reserve_again(published) {
                Ok(socket) => reservations.push(socket),
                Err(error) => {
                    tracing::warn!(%container, error = %errors::chain(&error), "a published port is no longer reserved");
                }
            }
        }
        let publication = Publication {
            rules: endpoint.ports.iter().map(|port| port.to_rule(endpoint.address)).collect(),
            held_back: Vec::new(),
            ports: endpoint.ports.clone(),
            _reservations: reservations,
        };
        Attachment { container: container.clone(), host_interface: endpoint.host_interface.clone(), publication }
    }
}
