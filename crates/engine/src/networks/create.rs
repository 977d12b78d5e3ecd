// SPDX-License-Identifier: Apache-2.0
//! `network create`: a wish becomes a network that is remembered, and a bridge.

use std::sync::Arc;

use jiff::Timestamp;
use metadata::Durability;
use network::{BridgeSpec, BridgeWish, Ip, Layout, LayoutWish, NetworkId};

use super::{BRIDGE, DEFAULT, HOST, Ipam, IpamWish, NETWORKS, NONE, Network, NetworkDriver, NetworkSpec, options};
use crate::Engine;
use crate::error::EngineError;

impl Engine {
    /// Makes a network. It is durable when this returns, and its bridge is there.
    ///
    /// # Errors
    /// A name that is taken or cannot be, a driver or an option that there is not, addresses that cannot be or collide
    /// with others. Nothing is left behind then.
    pub async fn create_network(self: &Arc<Self>, spec: NetworkSpec) -> Result<Network, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("create a network", move || engine.create_network_blocking(spec)).await
    }

    fn create_network_blocking(&self, spec: NetworkSpec) -> Result<Network, EngineError> {
        check_name(&spec.name)?;
        check_driver(spec.driver.as_deref().unwrap_or_default())?;
        let _turn = self.networks.turn();
        if self.networks.lock().values().any(|network| network.name == spec.name) {
            return Err(EngineError::NetworkExists(spec.name));
        }
        let mut random = [0; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| EngineError::io("read", "/dev/urandom")(errno.into()))?;
        let id = NetworkId::from_random(random);
        let (bridge, traits) = options::read(&id, &spec.options, spec.internal)?;
        let decided = self.network.reserve(BridgeWish {
            id: id.clone(),
            bridge,
            ipv4: wish(&spec.ipv4),
            ipv6: spec.ipv6.as_ref().map(wish),
            site: self.networks.site(),
            traits,
        })?;
        let network = network(spec, decided);
        match self.make(&network) {
            Ok(()) => {}
            Err(error) => {
                // Only a reservation is left, which cannot be in use.
                if let Err(error) = self.network.remove(&id) {
                    tracing::warn!(error = errors::chain(&error), "a network that was not made keeps its addresses");
                }
                return Err(error);
            }
        }
        self.networks.lock().insert(id, network.clone());
        self.events.tell_of_network("create", &network, None);
        Ok(network)
    }

    /// Remembers the network, then makes its bridge: so that no bridge is ever there that nobody knows of.
    fn make(&self, network: &Network) -> Result<(), EngineError> {
        let id = network.id.as_str();
        let written: Result<(), metadata::MetadataError> =
            self.store.write(Durability::Synced, |tx| tx.put(NETWORKS, id, network));
        written?;
        self.network.establish(&network.id).map_err(|error| {
            let forgotten: Result<(), metadata::MetadataError> =
                self.store.write(Durability::Synced, |tx| tx.delete(NETWORKS, id).map(|_| ()));
            if let Err(error) = forgotten {
                tracing::error!(
                    error = errors::chain(&error),
                    "a network that was not made will be there after a restart"
                );
            }
            error.into()
        })
    }
}

fn network(spec: NetworkSpec, decided: BridgeSpec) -> Network {
    Network {
        id: decided.id,
        name: spec.name,
        created: Timestamp::now(),
        driver: NetworkDriver::Bridge,
        internal: spec.internal,
        attachable: spec.attachable,
        ipam: Some(ipam(spec.ipv4, decided.ipv4)),
        ipv6: spec.ipv6.zip(decided.ipv6).map(|(wish, layout)| ipam(wish, layout)),
        options: spec.options,
        labels: spec.labels,
    }
}

fn wish<A: Ip>(wish: &IpamWish<A>) -> LayoutWish<A> {
    let reserved = wish.reserved.values().copied().collect();
    LayoutWish { subnet: wish.subnet, gateway: wish.gateway, range: wish.range, reserved }
}

fn ipam<A: Ip>(wish: IpamWish<A>, decided: Layout<A>) -> Ipam<A> {
    let Layout { subnet, gateway, range, .. } = decided;
    Ipam { subnet, gateway, range, reserved: wish.reserved, chosen: wish.subnet.is_none() }
}

/// Such names cannot be taken for a path, a flag, or Docker's `container:NAME`.
fn check_name(name: &str) -> Result<(), EngineError> {
    if [BRIDGE, HOST, NONE, DEFAULT].contains(&name) {
        return Err(EngineError::PredefinedNetwork { name: name.to_owned(), verb: "created" });
    }
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if first && rest && name.len() <= 128 {
        return Ok(());
    }
    let shown: String = name.chars().take(129).collect();
    let reason = format!(
        "{shown:?} is not a network's name: up to 128 letters, digits, `_`, `.` or `-`, a letter or digit first"
    );
    Err(EngineError::invalid("name", reason))
}

fn check_driver(driver: &str) -> Result<(), EngineError> {
    match driver {
        "" | BRIDGE | DEFAULT => Ok(()),
        HOST | "null" => Err(EngineError::OnlyOneNetwork(driver.to_owned())),
        _ => {
            let driver: String = driver.chars().take(64).collect();
            Err(EngineError::Unsupported(format!("the network driver {driver:?} (there is bridge)")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stand_for_something_else_are_refused() {
        for bad in ["", "-x", "a/b", "container:x", "a b", "bridge", "host", "none", "default", "ü", &"x".repeat(129)]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for good in ["a", "my_net.1-x", "0"] {
            check_name(good).unwrap();
        }
    }

    #[test]
    fn drivers_that_there_are_not_are_named() {
        for good in ["", "bridge", "default"] {
            check_driver(good).unwrap();
        }
        assert!(check_driver("overlay").unwrap_err().to_string().contains("\"overlay\""));
        assert!(matches!(check_driver("host"), Err(EngineError::OnlyOneNetwork(_))));
    }
}
