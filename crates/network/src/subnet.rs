// SPDX-License-Identifier: Apache-2.0
//! IPv4 subnets, and the choice of one that collides with nothing.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::AddressPool;

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network of that length in which `address` lies; a length over 32 counts as 32.
    pub fn of(address: Ipv4Addr, prefix: u8) -> Subnet {
        let prefix = prefix.min(32);
        Subnet { network: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)), prefix }
    }

    /// Its first address, which names it.
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// How many bits of it count.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The address of the bridge: the first that a host may have.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits().wrapping_add(1))
    }

    /// Its last address, to which all of it listens.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !mask(self.prefix))
    }

    /// Whether `address` lies in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.network.to_bits()
    }

    /// Whether `address` lies in it and may be somebody's: it is neither the network's own nor everybody's.
    pub fn has_host(self, address: Ipv4Addr) -> bool {
        self.contains(address) && address != self.network && address != self.broadcast()
    }

    /// Whether any address lies in both.
    pub fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// Whether there is room for a gateway and a container, and it is not a good part of the Internet.
    pub(crate) fn can_hold_a_network(self) -> bool {
        (8..=30).contains(&self.prefix)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// Why a text is not a subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// It is not of that form.
    #[error("{0:?} is not an IPv4 subnet such as 172.28.0.0/16")]
    Form(String),
    /// The address has bits that the length does not count.
    #[error("{0} is an address of the subnet {1}, not the subnet itself")]
    HostBits(String, Subnet),
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Subnet, SubnetError> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
            Some((address.parse::<Ipv4Addr>().ok()?, Subnet::of(address.parse().ok()?, prefix)))
        };
        match parse() {
            None => Err(SubnetError::Form(text.chars().take(64).collect())),
            Some((address, subnet)) if address != subnet.network => Err(SubnetError::HostBits(text.to_owned(), subnet)),
            Some((_, subnet)) => Ok(subnet),
        }
    }
}

fn mask(prefix: u8) -> u32 {
    !u32::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

/// The first subnet of the pools that overlaps nothing in `used`.
pub(crate) fn choose(pools: &[AddressPool], used: &[Subnet]) -> Option<Subnet> {
    pools.iter().flat_map(|pool| pieces(*pool)).find(|piece| !used.iter().any(|used| used.overlaps(*piece)))
}

fn pieces(pool: AddressPool) -> impl Iterator<Item = Subnet> {
    let AddressPool { base, size } = pool;
    let whole = (8..=30).contains(&size) && size >= base.prefix;
    let count: u64 = if whole { 1 << (size - base.prefix) } else { 0 };
    (0..count).map(move |n| {
        // Below 2^32: `n` is below 2^(size - prefix), and a piece holds 2^(32 - size) addresses.
        let offset = (n << (32 - u32::from(size))) as u32;
        Subnet::of(Ipv4Addr::from_bits(base.network.to_bits().wrapping_add(offset)), size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn subnet(text: &str) -> Subnet {
        let (address, prefix) = text.split_once('/').unwrap();
        Subnet::of(address.parse().unwrap(), prefix.parse().unwrap())
    }

    #[test]
    fn a_subnet_knows_its_edges() {
        let net = subnet("172.17.3.9/16");
        assert_eq!(net.to_string(), "172.17.0.0/16");
        assert_eq!(
            (net.gateway().to_string(), net.broadcast().to_string()),
            ("172.17.0.1".into(), "172.17.255.255".into())
        );
        assert!(net.contains(Ipv4Addr::new(172, 17, 255, 1)) && !net.contains(Ipv4Addr::new(172, 18, 0, 1)));
        assert!(subnet("0.0.0.0/0").contains(Ipv4Addr::BROADCAST));
        assert_eq!(Subnet::of(Ipv4Addr::LOCALHOST, 99).prefix(), 32);
    }

    #[test]
    fn a_subnet_is_read_as_it_is_written() {
        let read: Subnet = "10.1.0.0/16".parse().unwrap();
        assert_eq!(read.to_string(), "10.1.0.0/16");
        assert!(matches!("10.1.0.1/16".parse::<Subnet>(), Err(SubnetError::HostBits(..))));
        for bad in ["", "10.1.0.0", "10.1.0.0/33", "fd00::/8", "10.1.0/16", "10.1.0.0/-1"] {
            assert!(matches!(bad.parse::<Subnet>(), Err(SubnetError::Form(_))), "{bad}");
        }
    }

    #[test]
    fn the_first_subnet_that_collides_with_nothing_is_taken() {
        let pools = Config::default().address_pools;
        let pick =
            |used: &[&str]| choose(&pools, &used.iter().map(|u| subnet(u)).collect::<Vec<_>>()).map(|s| s.to_string());
        assert_eq!(pick(&[]).unwrap(), "172.17.0.0/16");
        assert_eq!(pick(&["172.17.5.0/24"]).unwrap(), "172.18.0.0/16", "a part of it is in use");
        assert_eq!(pick(&["172.16.0.0/12"]).unwrap(), "192.168.0.0/20", "a network around it is in use");
        assert_eq!(pick(&["172.16.0.0/12", "192.168.0.0/24", "192.168.16.7/32"]).unwrap(), "192.168.32.0/20");
        assert_eq!(pick(&["172.16.0.0/12", "192.168.0.0/16"]), None);
    }

    #[test]
    fn a_pool_smaller_than_its_pieces_gives_none() {
        assert_eq!(choose(&[AddressPool { base: subnet("10.0.0.0/24"), size: 16 }], &[]), None);
        assert_eq!(choose(&[AddressPool { base: subnet("10.0.0.0/24"), size: 24 }], &[]), Some(subnet("10.0.0.0/24")));
    }
}
