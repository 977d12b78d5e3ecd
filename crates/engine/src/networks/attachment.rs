// SPDX-License-Identifier: Apache-2.0
//! In which networks a container shall be, and with which wishes: from what the user said to what its record keeps.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use network::{Endpoint, Ip, MacAddress, NetworkId};
use oci::{ContainerId, Digest};
use serde::{Deserialize, Serialize};

use super::{BRIDGE, DEFAULT, HOST, Ipam, NONE, Network, NetworkDriver};
use crate::Engine;
use crate::container::Record;
use crate::error::EngineError;
use crate::request::{ContainerSpec, NetworkMode};

/// The longest name that DNS has (RFC 1035, section 2.3.4), in bytes.
const LONGEST_ALIAS: usize = 253;

/// What a container wishes of its place in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointWish {
    /// Names by which others in the network find it, beside its own.
    pub aliases: Vec<String>,
    /// Its address; the next free one when absent.
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address, in a network that has IPv6; a free one when absent.
    pub ipv6: Option<Ipv6Addr>,
    /// Its hardware address; one that goes with the address when absent.
    pub mac: Option<MacAddress>,
    /// The default route leads through the network where this is highest; of equals through the first by name.
    pub gw_priority: i64,
    /// Names that it alone has for others: `CONTAINER:ALIAS`.
    pub links: Vec<String>,
    /// Docker's options of the driver for one endpoint. There are none.
    pub driver_opts: BTreeMap<String, String>,
}

/// A network that a container shall be in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network. It may have been removed since.
    pub network: NetworkId,
    /// Its name.
    pub name: String,
    /// What is wished of the place there.
    pub wish: EndpointWish,
}

/// A container's place in a network, whether it runs or not.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The network's name.
    pub name: &'a str,
    /// The network.
    pub network: NetworkId,
    /// What is wished of it, if anything.
    pub wish: Option<&'a EndpointWish>,
    /// Where the container is in it, while it runs.
    pub endpoint: Option<&'a Endpoint>,
    /// The place's id; empty while the container does not run.
    pub endpoint_id: String,
    /// By which names others find it; none on predefined networks.
    pub dns_names: Vec<String>,
}

impl Record {
    /// The networks it is in, or shall be in when it runs.
    pub fn places(&self) -> Vec<Place<'_>> {
        let place = |name, network: NetworkId, wish| {
            let endpoint = self.state.running().and_then(|running| running.in_network(&network));
            Place {
                name,
                wish,
                endpoint,
                endpoint_id: endpoint.map(|_| endpoint_id(&self.id, &network)).unwrap_or_default(),
                dns_names: self.dns_names(&network, wish),
                network,
            }
        };
        match (&self.attachments, &self.spec.network) {
            (Some(list), _) => list.iter().map(|one| place(&one.name, one.network.clone(), Some(&one.wish))).collect(),
            (None, NetworkMode::Bridge) => vec![place(BRIDGE, NetworkId::bridge(), None)],
            (None, NetworkMode::Host) => vec![place(HOST, NetworkId::host(), None)],
            (None, NetworkMode::None) => vec![place(NONE, NetworkId::none(), None)],
            (None, NetworkMode::Container(_) | NetworkMode::User(_)) => Vec::new(),
        }
    }

    /// The same as a list that can be changed.
    pub(crate) fn attachments(&self) -> Vec<Attachment> {
        let attachment = |place: Place<'_>| Attachment {
            network: place.network,
            name: place.name.to_owned(),
            wish: place.wish.cloned().unwrap_or_default(),
        };
        self.places().into_iter().map(attachment).collect()
    }

    /// Its name, its aliases, its id and its host name, each once.
    pub(crate) fn dns_names(&self, network: &NetworkId, wish: Option<&EndpointWish>) -> Vec<String> {
        if super::is_predefined(network) {
            return Vec::new();
        }
        let aliases = wish.map_or(&[][..], |wish| &wish.aliases);
        let own = [self.name.as_str()].into_iter().chain(aliases.iter().map(String::as_str));
        let mut names: Vec<String> = Vec::new();
        for name in own.chain([self.id.short()]).chain(self.spec.hostname.as_deref()) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

/// The id of a container's place in a network: always the same, so that it needs no record.
pub(super) fn endpoint_id(container: &ContainerId, network: &NetworkId) -> String {
    Digest::of(format!("endpoint of {container} in {network}")).hex()
}

impl Engine {
    /// Decides in which networks a container shall be: `None` for what its mode says, without wishes. Names of containers
    /// become ids.
    ///
    /// # Errors
    /// A network or container that there is not; wishes that cannot be; networks that do not go together.
    pub(crate) fn attachments(&self, spec: &mut ContainerSpec) -> Result<Option<Vec<Attachment>>, EngineError> {
        if let NetworkMode::Container(name) = &spec.network {
            let other = self.container(name)?;
            spec.network = NetworkMode::Container(other.id.to_string());
        }
        let mut wishes = spec.endpoints.clone();
        let alone = match &spec.network {
            NetworkMode::Bridge => None,
            NetworkMode::Host => Some(HOST),
            NetworkMode::None => Some(NONE),
            NetworkMode::Container(_) => Some(""),
            NetworkMode::User(name) => {
                wishes.entry(name.clone()).or_default();
                None
            }
        };
        if let Some(own) = alone {
            // Docker's clients name the mode's own network here, too.
            return match wishes.iter().find(|(name, wish)| *name != own || **wish != EndpointWish::default()) {
                Some((name, _)) => Err(EngineError::NotTogether { network: name.clone(), mode: spec.network.docker() }),
                None => Ok(None),
            };
        }
        let first = match &spec.network {
            NetworkMode::User(name) => Some(name.clone()),
            _ => None,
        };
        let mut attachments: Vec<Attachment> = Vec::with_capacity(wishes.len());
        // The mode's own network is the first one, and its interface the first one inside.
        let rest = wishes.keys().filter(|name| Some(*name) != first.as_ref());
        for name in first.iter().chain(rest) {
            let network = self.find_network(name)?;
            let wish = wishes.get(name).cloned().unwrap_or_default();
            check(&network, &wish)?;
            if attachments.iter().any(|one| one.network == network.id) {
                return Err(EngineError::invalid("--network", format!("the network {} is named twice", network.name)));
            }
            attachments.push(Attachment { network: network.id, name: network.name, wish });
        }
        let is_default = match &attachments[..] {
            [] => true,
            [only] => only.network == NetworkId::bridge() && only.wish == EndpointWish::default(),
            _ => false,
        };
        Ok((!is_default || matches!(spec.network, NetworkMode::User(_))).then_some(attachments))
    }
}

impl Engine {
    /// Whether ports are to be published where nothing leads to.
    pub(crate) fn publishes_nothing(&self, spec: &ContainerSpec) -> bool {
        let named = match &spec.network {
            NetworkMode::User(name) => Some(name),
            _ => None,
        };
        let mut networks = named.into_iter().chain(spec.endpoints.keys()).peekable();
        let is_internal = |name: &String| self.find_network(name).is_ok_and(|network| network.internal);
        !spec.ports.is_empty() && networks.peek().is_some() && networks.all(is_internal)
    }
}

/// Refuses wishes that this network cannot grant, whoever else is in it.
pub(super) fn check(network: &Network, wish: &EndpointWish) -> Result<(), EngineError> {
    let invalid = |field, reason: String| Err(EngineError::invalid(field, reason));
    if network.driver != NetworkDriver::Bridge {
        return Err(EngineError::NotTogether { network: network.name.clone(), mode: "networks".to_owned() });
    }
    if let Some(option) = wish.driver_opts.keys().next() {
        return Err(EngineError::Unsupported(format!("the option {option:?} of an endpoint's driver")));
    }
    if network.is_predefined() && !(wish.aliases.is_empty() && wish.links.is_empty()) {
        let name = &network.name;
        return invalid("--network-alias", format!("the network {name} has no names: only user-defined ones do"));
    }
    for alias in &wish.aliases {
        check_alias(alias)?;
    }
    for link in &wish.links {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        check_alias(alias)?;
        check_alias(target)?;
    }
    if let Some(address) = wish.address {
        check_address("--ip", network, network.ipam.as_ref(), address)?;
    }
    match (wish.ipv6, &network.ipv6) {
        (Some(_), None) => {
            let reason = format!("the network {} has no IPv6 addresses: make one with --ipv6", network.name);
            invalid("--ip6", reason)
        }
        (Some(address), ipam) => check_address("--ip6", network, ipam.as_ref(), address),
        (None, _) => Ok(()),
    }
}

/// Refuses an address that is none of the network's, or may not be one tomorrow.
fn check_address<A: Ip>(
    flag: &'static str,
    network: &Network,
    ipam: Option<&Ipam<A>>,
    address: A,
) -> Result<(), EngineError> {
    let name = &network.name;
    match ipam.filter(|ipam| network.is_user_defined() && !ipam.chosen) {
        Some(ipam) if ipam.subnet.has_host(address) => Ok(()),
        Some(ipam) => {
            let reason = format!("{address} is not an address for a host in the subnet {}", ipam.subnet);
            Err(EngineError::invalid(flag, reason))
        }
        None => {
            let reason =
                format!("the network {name} has a subnet that nobody asked for: it may be another one tomorrow");
            Err(EngineError::invalid(flag, reason))
        }
    }
}

fn check_alias(alias: &str) -> Result<(), EngineError> {
    let allowed = |b: u8| b.is_ascii_graphic() && !b"\"\\/:".contains(&b);
    if alias.is_empty() || alias.len() > LONGEST_ALIAS || !alias.bytes().all(allowed) {
        let alias: String = alias.chars().take(64).collect();
        return Err(EngineError::invalid("--network-alias", format!("{alias:?} cannot be a name in a network")));
    }
    Ok(())
}

/// What Docker's clients may call a predefined network.
pub(crate) fn predefined_mode(name: &str) -> Option<NetworkMode> {
    match name {
        "" | DEFAULT | BRIDGE => Some(NetworkMode::Bridge),
        HOST => Some(NetworkMode::Host),
        NONE => Some(NetworkMode::None),
        _ => None,
    }
}
