// SPDX-License-Identifier: Apache-2.0
//! `network rm` and `network prune`.

use std::sync::Arc;

use metadata::Durability;
use network::NetworkError;

use super::{NETWORKS, Network};
use crate::Engine;
use crate::error::EngineError;

impl Engine {
    /// Removes a network and its bridge. Durable when this returns.
    ///
    /// # Errors
    /// No such network; a predefined one; running containers are in it.
    pub async fn remove_network(self: &Arc<Self>, term: &str) -> Result<Network, EngineError> {
        let (engine, term) = (Arc::clone(self), term.to_owned());
        self.blocking("remove a network", move || {
            let _turn = engine.networks.turn();
            let network = engine.find_network(&term)?;
            engine.remove_found(&network)?;
            Ok(network)
        })
        .await
    }

    /// Removes those of the networks that `chosen` says that no container names, running or not; their names.
    ///
    /// # Errors
    /// A network cannot be removed. Those before it are gone.
    pub async fn prune_networks(
        self: &Arc<Self>,
        chosen: impl Fn(&Network) -> bool + Send + 'static,
    ) -> Result<Vec<String>, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("remove unused networks", move || {
            let _turn = engine.networks.turn();
            let all: Vec<Network> = engine.networks.lock().values().cloned().collect();
            let mut removed = Vec::new();
            for network in all.into_iter().filter(|network| chosen(network)) {
                if engine.network_is_used(&network.id) {
                    continue;
                }
                match engine.remove_found(&network) {
                    Ok(()) => removed.push(network.name),
                    // A container was started in it just now.
                    Err(EngineError::NetworkInUse { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            removed.sort();
            engine.events.tell_of_pruned_networks();
            Ok(removed)
        })
        .await
    }

    /// The bridge first: were the record gone and the bridge not, nobody would know whose it is. A network without its
    /// bridge gets it again when it is needed.
    fn remove_found(&self, network: &Network) -> Result<(), EngineError> {
        if network.is_predefined() {
            return Err(EngineError::PredefinedNetwork { name: network.name.clone(), verb: "removed" });
        }
        self.network.remove(&network.id).map_err(|error| match error {
            NetworkError::InUse { .. } => EngineError::NetworkInUse {
                name: network.name.clone(),
                members: self.members(&network.id).into_iter().map(|member| member.name).collect(),
            },
            other => other.into(),
        })?;
        let deleted: Result<(), metadata::MetadataError> =
            self.store.write(Durability::Synced, |tx| tx.delete(NETWORKS, network.id.as_str()).map(|_| ()));
        if let Err(error) = deleted {
            // It is there as before, then.
            self.keep_network(network);
            return Err(error.into());
        }
        self.networks.lock().remove(&network.id);
        self.events.tell_of_network("destroy", network, None);
        Ok(())
    }

    fn keep_network(&self, network: &Network) {
        match network.to_bridge() {
            Ok(Some(spec)) => self.network.know(spec),
            Ok(None) => {}
            Err(error) => tracing::error!(error = errors::chain(&error), "a network cannot be had any more"),
        }
    }
}
