// SPDX-License-Identifier: Apache-2.0
//! Which networks there are, and who is in them.

use network::{Endpoint, NetworkId};
use oci::ContainerId;

use super::attachment::endpoint_id;
use super::{BRIDGE, DEFAULT, HOST, Ipam, NONE, Network, NetworkDriver};
use crate::Engine;
use crate::error::EngineError;

/// A running container in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// The id of its place there.
    pub endpoint_id: String,
    /// What it has there.
    pub endpoint: Endpoint,
}

impl Engine {
    /// All networks, by name.
    pub fn networks(&self) -> Vec<Network> {
        let mut networks: Vec<Network> = self.networks.lock().values().cloned().collect();
        networks.extend([self.default_bridge(), self.predefined(HOST), self.predefined(NONE)]);
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        networks
    }

    /// The network that has this id, this name, or an id that begins so.
    ///
    /// # Errors
    /// None has, or several have.
    pub fn find_network(&self, term: &str) -> Result<Network, EngineError> {
        match term {
            BRIDGE | DEFAULT => return Ok(self.default_bridge()),
            HOST | NONE => return Ok(self.predefined(term)),
            _ => {}
        }
        let networks = self.networks();
        let exact = networks.iter().find(|network| network.id.as_str() == term);
        if let Some(network) = exact.or_else(|| networks.iter().find(|network| network.name == term)) {
            return Ok(network.clone());
        }
        let mut matches = networks.iter().filter(|network| !term.is_empty() && network.id.as_str().starts_with(term));
        match (matches.next(), matches.next()) {
            (Some(network), None) => Ok(network.clone()),
            (None, _) => Err(EngineError::NoSuchNetwork(term.to_owned())),
            (Some(_), Some(_)) => Err(EngineError::AmbiguousNetwork(term.to_owned())),
        }
    }

    /// The network with this id; `None` if it was removed.
    pub(crate) fn network_by_id(&self, id: &NetworkId) -> Option<Network> {
        match id {
            id if *id == NetworkId::bridge() => Some(self.default_bridge()),
            id if *id == NetworkId::host() => Some(self.predefined(HOST)),
            id if *id == NetworkId::none() => Some(self.predefined(NONE)),
            id => self.networks.lock().get(id).cloned(),
        }
    }

    /// The running containers in a network, by name.
    pub fn members(&self, network: &NetworkId) -> Vec<Member> {
        let registry = self.registry();
        let mut members: Vec<Member> = registry
            .by_id
            .values()
            .filter_map(|container| {
                container.with_record(|record| {
                    let endpoints = &record.state.running()?.endpoints;
                    let endpoint = endpoints.iter().find(|endpoint| endpoint.network == *network)?;
                    Some(Member {
                        container: record.id.clone(),
                        name: record.name.clone(),
                        endpoint_id: endpoint_id(&record.id, network),
                        endpoint: endpoint.clone(),
                    })
                })
            })
            .collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members
    }

    /// Whether any container names a network, running or not.
    pub fn network_is_used(&self, network: &NetworkId) -> bool {
        let registry = self.registry();
        registry.by_id.values().any(|container| {
            container.with_record(|record| record.places().iter().any(|place| place.network == *network))
        })
    }

    fn default_bridge(&self) -> Network {
        let described = self.network.describe();
        let traits = &self.config.bridge_layout.traits;
        let publish_on = traits.publish_on.map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string());
        let decided = described.subnet.zip(described.gateway);
        Network {
            ipam: decided.map(|(subnet, gateway)| Ipam {
                subnet,
                gateway,
                range: self.config.bridge_layout.range,
                reserved: Default::default(),
                chosen: self.config.bridge_layout.subnet.is_none(),
            }),
            options: [
                ("com.docker.network.bridge.default_bridge", "true"),
                ("com.docker.network.bridge.enable_icc", &traits.inter_container.to_string()),
                ("com.docker.network.bridge.enable_ip_masquerade", &traits.masquerade.to_string()),
                ("com.docker.network.bridge.host_binding_ipv4", &publish_on),
                ("com.docker.network.bridge.name", &described.bridge),
                ("com.docker.network.driver.mtu", &traits.mtu.unwrap_or(1500).to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            ..self.predefined(BRIDGE)
        }
    }

    /// One of the networks that there always are.
    fn predefined(&self, name: &str) -> Network {
        let (id, driver) = match name {
            HOST => (NetworkId::host(), NetworkDriver::Host),
            NONE => (NetworkId::none(), NetworkDriver::Null),
            _ => (NetworkId::bridge(), NetworkDriver::Bridge),
        };
        Network {
            id,
            name: name.to_owned(),
            created: self.networks.began,
            driver,
            internal: false,
            attachable: false,
            ipam: None,
            ipv6: None,
            options: Default::default(),
            labels: Default::default(),
        }
    }
}
