// SPDX-License-Identifier: Apache-2.0
//! Networks: three that there always are (`bridge`, `host`, `none`) and those that users make, which are bridges of their
//! own. What they are is remembered in the metadata store; what of them stands in the kernel is the network crate's matter.
//!
//! A container's record says which networks it shall be in ([`Attachment`]), its running state in which it is
//! ([`network::Endpoint`]). A network can be removed when no running container is in it, as in Docker; one that stopped
//! and names it cannot be started any more.

mod attachment;
mod connect;
mod create;
mod lookup;
mod options;
mod ports;
mod remove;
mod resolve;
mod resolver;
mod sandbox;
mod select;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use metadata::Table;
use network::{BridgeSpec, Ip, Layout, NetworkId, Subnet};
use serde::{Deserialize, Serialize};

pub(crate) use attachment::predefined_mode;
pub use attachment::{Attachment, EndpointWish, Place};
pub use lookup::Member;
pub use ports::PortChanges;
pub(crate) use resolver::NameServers;
pub use select::NetworkFilters;

use crate::error::EngineError;

/// Networks by id; the predefined ones need no record.
pub(crate) const NETWORKS: Table = Table::new("networks");

/// The default bridge's name.
pub(crate) const BRIDGE: &str = "bridge";
/// The name of the host's own network.
pub(crate) const HOST: &str = "host";
/// The name of no network at all.
pub(crate) const NONE: &str = "none";
/// What Docker's clients call the network of whoever names none.
pub(crate) const DEFAULT: &str = "default";

/// A network, as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its name, unique among networks.
    pub name: String,
    /// When it was made; for a predefined one, when the daemon began.
    pub created: Timestamp,
    /// What carries it.
    pub driver: NetworkDriver,
    /// Nothing is routed to it or from it.
    pub internal: bool,
    /// Docker's flag of that name, which only means something in a swarm: it is remembered.
    pub attachable: bool,
    /// Its addresses, where it has some; the default bridge has none before it is first used.
    pub ipam: Option<Ipam>,
    /// Its IPv6 addresses, if it has any.
    #[serde(default)]
    pub ipv6: Option<Ipam<Ipv6Addr>>,
    /// The driver's options, as they were given.
    pub options: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

/// What carries a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkDriver {
    /// A bridge of its own.
    Bridge,
    /// The host's own network.
    Host,
    /// Nothing.
    Null,
}

impl NetworkDriver {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            NetworkDriver::Bridge => "bridge",
            NetworkDriver::Host => "host",
            NetworkDriver::Null => "null",
        }
    }
}

/// A network's addresses in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam<A = Ipv4Addr> {
    /// All of them.
    pub subnet: Subnet<A>,
    /// The bridge's own.
    pub gateway: A,
    /// From which part containers' are chosen; from all when absent.
    pub range: Option<Subnet<A>>,
    /// Addresses that no container gets, by what they are for.
    pub reserved: BTreeMap<String, A>,
    /// Nobody asked for this subnet: Corten chose it.
    pub chosen: bool,
}

impl<A: Ip> Ipam<A> {
    fn layout(&self) -> Layout<A> {
        let reserved = self.reserved.values().copied().collect();
        Layout { subnet: self.subnet, gateway: self.gateway, range: self.range, reserved }
    }
}

/// The wish for a network's addresses in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpamWish<A = Ipv4Addr> {
    /// All of them.
    pub subnet: Option<Subnet<A>>,
    /// The bridge's own.
    pub gateway: Option<A>,
    /// From which part containers' are chosen.
    pub range: Option<Subnet<A>>,
    /// Addresses that no container gets, by what they are for.
    pub reserved: BTreeMap<String, A>,
}

impl<A> Default for IpamWish<A> {
    fn default() -> IpamWish<A> {
        IpamWish { subnet: None, gateway: None, range: None, reserved: BTreeMap::new() }
    }
}

/// The wish for a network. What is absent is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// What carries it; a bridge when absent.
    pub driver: Option<String>,
    /// Nothing is routed to it or from it.
    pub internal: bool,
    /// See [`Network::attachable`].
    pub attachable: bool,
    /// Its IPv4 addresses.
    pub ipv4: IpamWish,
    /// Its IPv6 addresses, if it is to have any.
    pub ipv6: Option<IpamWish<Ipv6Addr>>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// Whether it is one of the three that there always are.
    pub fn is_predefined(&self) -> bool {
        is_predefined(&self.id)
    }

    /// Whether a user made it: names are resolved between its containers, and they may ask for addresses.
    pub fn is_user_defined(&self) -> bool {
        !self.is_predefined()
    }

    /// As the network crate takes it; `None` for what is no bridge, or whose addresses are not decided yet.
    ///
    /// # Errors
    /// Options that cannot be: they were checked when the network was made.
    fn to_bridge(&self) -> Result<Option<BridgeSpec>, EngineError> {
        let Some(ipam) = self.ipam.as_ref().filter(|_| self.driver == NetworkDriver::Bridge) else { return Ok(None) };
        let (bridge, traits) = options::read(&self.id, &self.options, self.internal)?;
        Ok(Some(BridgeSpec {
            id: self.id.clone(),
            bridge,
            ipv4: ipam.layout(),
            ipv6: self.ipv6.as_ref().map(Ipam::layout),
            traits,
        }))
    }
}

fn is_predefined(id: &NetworkId) -> bool {
    [NetworkId::bridge(), NetworkId::host(), NetworkId::none()].contains(id)
}

/// The networks that users made.
#[derive(Debug)]
pub(crate) struct Known {
    by_id: Mutex<BTreeMap<NetworkId, Network>>,
    /// Held while one is made or removed.
    turn: Mutex<()>,
    /// When the daemon began.
    began: Timestamp,
}

impl Known {
    /// Those that the store remembers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn read(store: &metadata::Store) -> Result<Known, EngineError> {
        let stored: Vec<(String, Network)> =
            store.read(|tx| tx.list(NETWORKS)).map_err(|error: metadata::MetadataError| error)?;
        let by_id = stored.into_iter().map(|(_, network)| (network.id.clone(), network)).collect();
        Ok(Known { by_id: Mutex::new(by_id), turn: Mutex::default(), began: Timestamp::now() })
    }

    /// As the network crate takes them. One that it cannot take is told of, and its containers do not start.
    pub(crate) fn bridges(&self) -> Vec<BridgeSpec> {
        let networks = self.lock();
        let spec = |network: &Network| match network.to_bridge() {
            Ok(spec) => spec,
            Err(error) => {
                tracing::error!(network = network.name, error = errors::chain(&error), "a network cannot be had");
                None
            }
        };
        networks.values().filter_map(spec).collect()
    }

    /// The unique local addresses that are this host's: those of which an IPv6 subnet was chosen before.
    fn site(&self) -> Option<Subnet<Ipv6Addr>> {
        let networks = self.lock();
        networks.values().find_map(|network| network.ipv6.as_ref().filter(|ipam| ipam.chosen).map(|ipam| ipam.subnet))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NetworkId, Network>> {
        // Every change is a single insertion or removal: a panic cannot leave it half-changed.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
