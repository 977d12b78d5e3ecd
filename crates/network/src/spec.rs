// SPDX-License-Identifier: Apache-2.0
//! What a bridge network is to be: the wish for one, and the decision that is made of it once and for all.

use std::net::Ipv4Addr;

use crate::config::{self, Config};
use crate::error::NetworkError;
use crate::id::NetworkId;
use crate::subnet::Subnet;

/// The shortest that a bridge's longest packet may be, in bytes: what IPv4 asks of every link.
const LEAST_MTU: u32 = 68;
/// The kernel's limit for bridges and veth pairs.
const MOST_MTU: u32 = 65_535;

/// The wish for a bridge network. What is absent is chosen.
#[derive(Debug, Clone)]
pub struct BridgeWish {
    /// The network's id.
    pub id: NetworkId,
    /// The bridge's name.
    pub bridge: String,
    /// Its addresses.
    pub subnet: Option<Subnet>,
    /// The bridge's own address; the subnet's first when absent.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the subnet from which addresses are chosen; all of it when absent.
    pub range: Option<Subnet>,
    /// Addresses that no container gets.
    pub reserved: Vec<Ipv4Addr>,
    /// How it behaves.
    pub traits: Traits,
}

/// How a bridge network behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traits {
    /// Nothing is routed to it or from it.
    pub internal: bool,
    /// Its containers reach the world as the host.
    pub masquerade: bool,
    /// Its containers reach each other.
    pub inter_container: bool,
    /// The longest packet, in bytes; the kernel's usual 1500 when absent.
    pub mtu: Option<u32>,
    /// On which of the host's addresses ports are published where nothing else is said; `None`: on all.
    pub publish_on: Option<Ipv4Addr>,
}

impl Default for Traits {
    fn default() -> Traits {
        Traits { internal: false, masquerade: true, inter_container: true, mtu: None, publish_on: None }
    }
}

impl Traits {
    /// Refuses what the kernel would.
    pub(crate) fn validate(&self) -> Result<(), NetworkError> {
        match self.mtu.filter(|mtu| !(LEAST_MTU..=MOST_MTU).contains(mtu)) {
            Some(mtu) => Err(NetworkError::Mtu { mtu, least: LEAST_MTU, most: MOST_MTU }),
            None => Ok(()),
        }
    }
}

/// A bridge network as it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// The network's id.
    pub id: NetworkId,
    /// The bridge's name.
    pub bridge: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// The part of the subnet from which addresses are chosen.
    pub range: Option<Subnet>,
    /// Addresses that no container gets.
    pub reserved: Vec<Ipv4Addr>,
    /// How it behaves.
    pub traits: Traits,
}

impl BridgeSpec {
    /// The default bridge, with the subnet it has or gets.
    pub(crate) fn default_bridge(config: &Config, subnet: Subnet) -> BridgeSpec {
        BridgeSpec {
            id: NetworkId::bridge(),
            bridge: config.bridge.clone(),
            subnet,
            gateway: subnet.gateway(),
            range: config.range,
            reserved: Vec::new(),
            traits: config.traits.clone(),
        }
    }

    /// As the packet filter takes it.
    pub(crate) fn to_rule(&self) -> firewall::Bridge {
        firewall::Bridge {
            name: self.bridge.clone(),
            network: self.subnet.network(),
            prefix: self.subnet.prefix(),
            masquerade: self.traits.masquerade,
            internal: self.traits.internal,
        }
    }

    /// Whether a container may have this address, if nobody else has it.
    pub(crate) fn is_for_containers(&self, address: Ipv4Addr) -> bool {
        self.subnet.has_host(address) && address != self.gateway && !self.reserved.contains(&address)
    }
}

impl BridgeWish {
    /// Refuses what cannot be, before anything is chosen.
    pub(crate) fn validate(&self) -> Result<(), NetworkError> {
        config::interface_name(&self.bridge)?;
        self.traits.validate()?;
        match self.subnet {
            Some(subnet) if !subnet.can_hold_a_network() => Err(NetworkError::SubnetSize { subnet }),
            Some(_) => Ok(()),
            None if self.gateway.is_some() || self.range.is_some() || !self.reserved.is_empty() => {
                Err(NetworkError::WithoutSubnet)
            }
            None => Ok(()),
        }
    }

    /// The decision, with this subnet.
    pub(crate) fn decide(self, subnet: Subnet) -> Result<BridgeSpec, NetworkError> {
        let gateway = self.gateway.unwrap_or(subnet.gateway());
        let outside = |what, address| Err(NetworkError::Outside { what, address, subnet });
        if !subnet.has_host(gateway) {
            return outside("gateway", gateway);
        }
        if let Some(range) = self.range
            && !(subnet.contains(range.network()) && subnet.contains(range.broadcast()))
        {
            return Err(NetworkError::RangeOutside { range, subnet });
        }
        if let Some(&address) = self.reserved.iter().find(|&&address| !subnet.contains(address)) {
            return outside("reserved address", address);
        }
        let BridgeWish { id, bridge, range, reserved, traits, .. } = self;
        Ok(BridgeSpec { id, bridge, subnet, gateway, range, reserved, traits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> BridgeWish {
        let (id, traits) = (NetworkId::from_random([7; 32]), Traits::default());
        BridgeWish { id, bridge: "br-1".into(), subnet: None, gateway: None, range: None, reserved: vec![], traits }
    }

    fn decided(change: impl FnOnce(&mut BridgeWish)) -> Result<BridgeSpec, NetworkError> {
        let mut wish = BridgeWish { subnet: Some("10.1.0.0/16".parse().unwrap()), ..wish() };
        change(&mut wish);
        wish.validate()?;
        let subnet = wish.subnet.unwrap();
        wish.decide(subnet)
    }

    #[test]
    fn what_is_absent_takes_the_usual_place() {
        let spec = decided(|_| ()).unwrap();
        assert_eq!(spec.gateway, Ipv4Addr::new(10, 1, 0, 1));
        assert!(spec.is_for_containers(Ipv4Addr::new(10, 1, 0, 2)) && !spec.is_for_containers(spec.gateway));
        assert!(!spec.is_for_containers(Ipv4Addr::new(10, 1, 255, 255)));
    }

    #[test]
    fn what_lies_elsewhere_is_refused() {
        let address = |text: &str| text.parse().unwrap();
        assert!(decided(|wish| wish.gateway = Some(address("10.2.0.1"))).is_err());
        assert!(decided(|wish| wish.gateway = Some(address("10.1.0.0"))).is_err(), "the network's own address");
        assert!(decided(|wish| wish.gateway = Some(address("10.1.255.254"))).is_ok());
        assert!(decided(|wish| wish.range = Some("10.1.4.0/24".parse().unwrap())).is_ok());
        assert!(decided(|wish| wish.range = Some("10.0.0.0/8".parse().unwrap())).is_err());
        assert!(decided(|wish| wish.reserved = vec![address("10.2.0.9")]).is_err());
        assert!(decided(|wish| wish.traits.mtu = Some(20)).is_err());
        assert!(decided(|wish| wish.bridge = "a/b".into()).is_err());
        let lonely = BridgeWish { gateway: Some(address("10.1.0.1")), ..wish() };
        assert!(matches!(lonely.validate(), Err(NetworkError::WithoutSubnet)));
    }
}
