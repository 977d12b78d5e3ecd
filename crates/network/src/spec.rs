// SPDX-License-Identifier: Apache-2.0
//! What a bridge network is to be: the wish for one, and the decision that is made of it once and for all.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::{self, Config};
use crate::error::NetworkError;
use crate::id::NetworkId;
use crate::layout::{Layout, LayoutWish};
use crate::subnet::Subnet;

/// The shortest that a bridge's longest packet may be, in bytes: what IPv4 asks of every link.
const LEAST_MTU: u32 = 68;
/// The same where there is IPv6: what IPv6 asks of every link (RFC 8200).
const LEAST_MTU_OF_IPV6: u32 = 1280;
/// The kernel's limit for bridges and veth pairs.
const MOST_MTU: u32 = 65_535;

/// The wish for a bridge network. What is absent is chosen.
#[derive(Debug, Clone)]
pub struct BridgeWish {
    /// The network's id.
    pub id: NetworkId,
    /// The bridge's name.
    pub bridge: String,
    /// Its IPv4 addresses.
    pub ipv4: LayoutWish,
    /// Its IPv6 addresses, if it is to have any.
    pub ipv6: Option<LayoutWish<Ipv6Addr>>,
    /// From which of this host's own unique local addresses (RFC 4193) an IPv6 subnet is chosen; a random /48 when absent.
    pub site: Option<Subnet<Ipv6Addr>>,
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
    pub(crate) fn validate(&self, has_ipv6: bool) -> Result<(), NetworkError> {
        let least = if has_ipv6 { LEAST_MTU_OF_IPV6 } else { LEAST_MTU };
        match self.mtu.filter(|mtu| !(least..=MOST_MTU).contains(mtu)) {
            Some(mtu) => Err(NetworkError::Mtu { mtu, least, most: MOST_MTU }),
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
    /// Its IPv4 addresses.
    pub ipv4: Layout,
    /// Its IPv6 addresses, if it has any.
    pub ipv6: Option<Layout<Ipv6Addr>>,
    /// How it behaves.
    pub traits: Traits,
}

impl BridgeSpec {
    /// The default bridge, with the subnet it has or gets.
    pub(crate) fn default_bridge(config: &Config, subnet: Subnet) -> BridgeSpec {
        BridgeSpec {
            id: NetworkId::bridge(),
            bridge: config.bridge.clone(),
            ipv4: Layout { subnet, gateway: subnet.gateway(), range: config.range, reserved: Vec::new() },
            ipv6: None,
            traits: config.traits.clone(),
        }
    }

    /// As the packet filter takes it.
    pub(crate) fn to_rule(&self) -> firewall::Bridge {
        firewall::Bridge {
            name: self.bridge.clone(),
            network: self.ipv4.subnet.network(),
            prefix: self.ipv4.subnet.prefix(),
            ipv6: self.ipv6.as_ref().map(|layout| (layout.subnet.network(), layout.subnet.prefix())),
            masquerade: self.traits.masquerade,
            internal: self.traits.internal,
            inter_container: self.traits.inter_container,
        }
    }
}

impl BridgeWish {
    /// Refuses what cannot be, before anything is chosen.
    pub(crate) fn validate(&self) -> Result<(), NetworkError> {
        config::interface_name(&self.bridge)?;
        self.traits.validate(self.ipv6.is_some())?;
        self.ipv4.validate()?;
        self.ipv6.as_ref().map_or(Ok(()), LayoutWish::validate)
    }

    /// The decision, with these subnets.
    pub(crate) fn decide(self, subnet: Subnet, ipv6: Option<Subnet<Ipv6Addr>>) -> Result<BridgeSpec, NetworkError> {
        let BridgeWish { id, bridge, traits, .. } = self;
        let ipv4 = self.ipv4.decide(subnet)?;
        let ipv6 = self.ipv6.zip(ipv6).map(|(wish, subnet)| wish.decide(subnet)).transpose()?;
        Ok(BridgeSpec { id, bridge, ipv4, ipv6, traits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> BridgeWish {
        let (id, traits) = (NetworkId::from_random([7; 32]), Traits::default());
        BridgeWish { id, bridge: "br-1".into(), ipv4: LayoutWish::default(), ipv6: None, site: None, traits }
    }

    fn decided(change: impl FnOnce(&mut BridgeWish)) -> Result<BridgeSpec, NetworkError> {
        let mut wish = wish();
        wish.ipv4.subnet = Some("10.1.0.0/16".parse().unwrap());
        change(&mut wish);
        wish.validate()?;
        let (subnet, subnet6) = (wish.ipv4.subnet.unwrap(), wish.ipv6.as_ref().and_then(|wish| wish.subnet));
        wish.decide(subnet, subnet6)
    }

    fn six() -> LayoutWish<Ipv6Addr> {
        LayoutWish { subnet: Some("fd00:1::/64".parse().unwrap()), ..LayoutWish::default() }
    }

    #[test]
    fn what_is_absent_takes_the_usual_place() {
        let layout = decided(|_| ()).unwrap().ipv4;
        assert_eq!(layout.gateway, Ipv4Addr::new(10, 1, 0, 1));
        assert!(layout.is_for_containers(Ipv4Addr::new(10, 1, 0, 2)) && !layout.is_for_containers(layout.gateway));
        assert!(!layout.is_for_containers(Ipv4Addr::new(10, 1, 255, 255)));
        let layout = decided(|wish| wish.ipv6 = Some(six())).unwrap().ipv6.unwrap();
        assert_eq!(layout.gateway.to_string(), "fd00:1::1");
    }

    #[test]
    fn what_lies_elsewhere_is_refused() {
        let address = |text: &str| text.parse().unwrap();
        assert!(decided(|wish| wish.ipv4.gateway = Some(address("10.2.0.1"))).is_err());
        assert!(decided(|wish| wish.ipv4.gateway = Some(address("10.1.0.0"))).is_err(), "the network's own address");
        assert!(decided(|wish| wish.ipv4.gateway = Some(address("10.1.255.254"))).is_ok());
        assert!(decided(|wish| wish.ipv4.range = Some("10.1.4.0/24".parse().unwrap())).is_ok());
        assert!(decided(|wish| wish.ipv4.range = Some("10.0.0.0/8".parse().unwrap())).is_err());
        assert!(decided(|wish| wish.ipv4.reserved = vec![address("10.2.0.9")]).is_err());
        assert!(decided(|wish| wish.traits.mtu = Some(20)).is_err());
        assert!(decided(|wish| wish.bridge = "a/b".into()).is_err());
        let mut lonely = wish();
        lonely.ipv4.gateway = Some(address("10.1.0.1"));
        assert!(matches!(lonely.validate(), Err(NetworkError::WithoutSubnet)));
    }

    #[test]
    fn ipv6_has_its_own_limits() {
        let with = |change: fn(&mut LayoutWish<Ipv6Addr>), mtu| {
            decided(|wish| {
                let mut six = six();
                change(&mut six);
                (wish.ipv6, wish.traits.mtu) = (Some(six), mtu);
            })
        };
        assert!(with(|_| (), Some(1280)).is_ok());
        assert!(matches!(with(|_| (), Some(1279)), Err(NetworkError::Mtu { least: 1280, .. })));
        assert!(with(|six| six.gateway = Some("fd00:2::1".parse().unwrap()), None).is_err());
        assert!(with(|six| six.range = Some("fd00:1::/48".parse().unwrap()), None).is_err());
        assert!(with(|six| six.subnet = Some("fe80::/64".parse().unwrap()), None).is_err());
        assert!(
            with(
                |six| *six = LayoutWish { subnet: None, gateway: six.subnet.map(Subnet::gateway), ..six.clone() },
                None
            )
            .is_err()
        );
    }
}
