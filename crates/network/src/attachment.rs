// SPDX-License-Identifier: Apache-2.0
//! What is remembered of an endpoint: whose it is, and what it publishes.

use std::os::fd::OwnedFd;

use firewall::Published;
use oci::ContainerId;

use crate::endpoint::{Endpoint, PortMapping, PublishedPort, Target};
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
    open: Vec<Open>,
    /// They are reserved and do not redirect: who connects is refused.
    pub(crate) held_back: bool,
}

/// One port that is published.
#[derive(Debug)]
struct Open {
    port: PublishedPort,
    /// One for each family.
    rules: Vec<Published>,
    /// A socket bound to it for each family; none where a former daemon's could not be had again.
    _reservations: Vec<OwnedFd>,
}

impl Publication {
    /// Reserves what the mappings ask for; `explain` is told what each failure collided with so far.
    pub(crate) fn reserve(
        mappings: &[PortMapping],
        target: Target,
        explain: impl Fn(NetworkError, &[PublishedPort]) -> NetworkError,
    ) -> Result<Publication, NetworkError> {
        let mut publication = Publication { open: Vec::with_capacity(mappings.len()), held_back: false };
        for mapping in mappings {
            let reserved = port::reserve(mapping, target.ipv6.is_some());
            let (sockets, port) = reserved.map_err(|error| explain(error, &publication.ports()))?;
            let rules = port.to_rules(target);
            publication.open.push(Open { port, rules, _reservations: sockets });
        }
        Ok(publication)
    }

    /// What others have published, reserved again. A port that somebody took meanwhile is only warned of: its traffic
    /// goes to the container all the same.
    pub(crate) fn again(container: &ContainerId, target: Target, ports: &[PublishedPort]) -> Publication {
        let open = ports.iter().map(|port| {
            let reservations = port::reserve_again(port).unwrap_or_else(|error| {
                tracing::warn!(%container, error = %errors::chain(&error), "a published port is no longer reserved");
                Vec::new()
            });
            Open { port: port.clone(), rules: port.to_rules(target), _reservations: reservations }
        });
        Publication { open: open.collect(), held_back: false }
    }

    /// The ports, as people read them.
    pub(crate) fn ports(&self) -> Vec<PublishedPort> {
        self.open.iter().map(|open| open.port.clone()).collect()
    }

    /// Those that redirect, as the packet filter takes them.
    pub(crate) fn rules(&self) -> Vec<Published> {
        if self.held_back { Vec::new() } else { self.all_rules() }
    }

    /// The same, those that are held back included.
    pub(crate) fn all_rules(&self) -> Vec<Published> {
        self.open.iter().flat_map(|open| open.rules.iter().copied()).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.open.len()
    }

    /// Whether one of them fits.
    pub(crate) fn any(&self, fits: impl Fn(&PublishedPort) -> bool) -> bool {
        self.open.iter().any(|open| fits(&open.port))
    }

    /// Those that are wanted, out of the others.
    pub(crate) fn take(&mut self, wanted: &[PublishedPort]) -> Publication {
        let open = self.open.extract_if(.., |open| wanted.contains(&open.port)).collect();
        Publication { open, held_back: self.held_back }
    }

    /// Adds others behind its own.
    pub(crate) fn append(&mut self, mut others: Publication) {
        self.open.append(&mut others.open);
    }
}

impl Attachment {
    /// That of a container which a former daemon attached.
    pub(crate) fn adopted(container: &ContainerId, endpoint: &Endpoint) -> Attachment {
        let publication = Publication::again(container, endpoint.target(), &endpoint.ports);
        Attachment { container: container.clone(), host_interface: endpoint.host_interface.clone(), publication }
    }
}
