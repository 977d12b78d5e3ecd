// SPDX-License-Identifier: Apache-2.0
//! Subnets, and the choice of one that collides with nothing.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::AddressPool;
use crate::error::NetworkError;
use crate::ip::Ip;

/// A network: an IPv4 one where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet<A = Ipv4Addr> {
    network: A,
    prefix: u8,
}

/// A network of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnySubnet {
    /// IPv4.
    V4(Subnet),
    /// IPv6.
    V6(Subnet<Ipv6Addr>),
}

impl<A: Ip> Subnet<A> {
    /// The network of that length in which `address` lies; a length over the family's longest counts as that.
    pub fn of(address: A, prefix: u8) -> Subnet<A> {
        let prefix = prefix.min(A::BITS);
        Subnet { network: A::from_number(address.to_number() & !hosts::<A>(prefix)), prefix }
    }

    /// Its first address, which names it.
    pub fn network(self) -> A {
        self.network
    }

    /// How many bits of it count.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The address of the bridge: the first that a host may have.
    pub fn gateway(self) -> A {
        A::from_number(self.network.to_number().wrapping_add(1))
    }

    /// Its last address; in IPv4 all of it listens to that one.
    pub fn last(self) -> A {
        A::from_number(self.network.to_number() | hosts::<A>(self.prefix))
    }

    /// Whether `address` lies in it.
    pub fn contains(self, address: A) -> bool {
        address.to_number() & !hosts::<A>(self.prefix) == self.network.to_number()
    }

    /// Whether `address` lies in it and may be somebody's: it is neither the network's own nor everybody's.
    pub fn has_host(self, address: A) -> bool {
        let is_everybodys = A::HAS_BROADCAST && address == self.last();
        self.contains(address) && address != self.network && !is_everybodys
    }

    /// Whether any address lies in both.
    pub fn overlaps(self, other: Subnet<A>) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// Refuses what no network can have.
    pub(crate) fn check(self) -> Result<(), NetworkError> {
        let (least, most) = A::SIZES.into_inner();
        if !(least..=most).contains(&self.prefix) {
            return Err(NetworkError::SubnetSize { subnet: A::any(self), least, most });
        }
        if !self.network.is_hosts() {
            return Err(NetworkError::NotForHosts { subnet: A::any(self) });
        }
        Ok(())
    }
}

/// The bits that tell the hosts of such a network apart.
fn hosts<A: Ip>(prefix: u8) -> u128 {
    u128::MAX.checked_shr(128 - u32::from(A::BITS - prefix)).unwrap_or(0)
}

impl<A: fmt::Display> fmt::Display for Subnet<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl fmt::Display for AnySubnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnySubnet::V4(subnet) => subnet.fmt(f),
            AnySubnet::V6(subnet) => subnet.fmt(f),
        }
    }
}

/// Why a text is not a subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// It is not of that form.
    #[error("{0:?} is not a subnet such as 172.28.0.0/16 or fd00:1:2:3::/64")]
    Form(String),
    /// The address has bits that the length does not count.
    #[error("{0} is an address of the subnet {1}, not the subnet itself")]
    HostBits(String, AnySubnet),
}

impl<A: Ip + FromStr> FromStr for Subnet<A> {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Subnet<A>, SubnetError> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= A::BITS)?;
            let address = address.parse::<A>().ok()?;
            Some((address, Subnet::of(address, prefix)))
        };
        match parse() {
            None => Err(SubnetError::Form(text.chars().take(64).collect())),
            Some((address, subnet)) if address != subnet.network => {
                Err(SubnetError::HostBits(text.to_owned(), A::any(subnet)))
            }
            Some((_, subnet)) => Ok(subnet),
        }
    }
}

impl FromStr for AnySubnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<AnySubnet, SubnetError> {
        match text.parse::<Subnet>() {
            Err(SubnetError::Form(_)) => text.parse().map(AnySubnet::V6),
            other => other.map(AnySubnet::V4),
        }
    }
}

/// The first subnet of the pools that overlaps nothing in `used`.
pub(crate) fn choose<A: Ip>(pools: &[AddressPool<A>], used: &[Subnet<A>]) -> Option<Subnet<A>> {
    pools.iter().flat_map(|pool| pieces(*pool)).find(|piece| !used.iter().any(|used| used.overlaps(*piece)))
}

fn pieces<A: Ip>(pool: AddressPool<A>) -> impl Iterator<Item = Subnet<A>> {
    let AddressPool { base, size } = pool;
    let whole = A::SIZES.contains(&size) && size >= base.prefix;
    // More than 2^63 nobody counts.
    let count: u64 = if whole { 1 << (size - base.prefix).min(63) } else { 0 };
    (0..count).map(move |n| {
        // It is below the end of the base: `n` is below 2^(size - prefix), and a piece holds 2^(BITS - size) addresses.
        let offset = u128::from(n) << (A::BITS - size);
        Subnet::of(A::from_number(base.network.to_number().wrapping_add(offset)), size)
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
        assert_eq!((net.gateway().to_string(), net.last().to_string()), ("172.17.0.1".into(), "172.17.255.255".into()));
        assert!(net.contains(Ipv4Addr::new(172, 17, 255, 1)) && !net.contains(Ipv4Addr::new(172, 18, 0, 1)));
        assert!(subnet("0.0.0.0/0").contains(Ipv4Addr::BROADCAST));
        assert_eq!(Subnet::of(Ipv4Addr::LOCALHOST, 99).prefix(), 32);
    }

    #[test]
    fn an_ipv6_subnet_knows_its_edges() {
        let net: Subnet<Ipv6Addr> = "fd00:1::/64".parse().unwrap();
        let (first, last) = ("fd00:1::1", "fd00:1::ffff:ffff:ffff:ffff");
        assert_eq!((net.gateway().to_string(), net.last().to_string()), (first.into(), last.into()));
        assert!(net.has_host(net.last()), "which is nobody's in particular");
        assert!(!net.has_host(net.network()) && !net.contains("fd00:1:0:1::1".parse().unwrap()));
        let all: Subnet<Ipv6Addr> = "::/0".parse().unwrap();
        assert!(all.overlaps(net) && all.contains(Ipv6Addr::from_bits(u128::MAX)));
        assert_eq!(Subnet::of(Ipv6Addr::LOCALHOST, 200).to_string(), "::1/128");
    }

    #[test]
    fn what_is_no_networks_is_refused() {
        for bad in ["fe80::/64", "ff02::/64", "::/64", "::ffff:0:0/96", "fd00::/127", "fd00::/8", "64:ff9b::/96"] {
            assert!(bad.parse::<Subnet<Ipv6Addr>>().unwrap().check().is_err(), "{bad}");
        }
        for good in ["fd00:1::/64", "2001:db8::/48", "fd00::/126"] {
            good.parse::<Subnet<Ipv6Addr>>().unwrap().check().unwrap();
        }
        for bad in ["224.0.0.0/16", "10.0.0.0/31", "10.0.0.0/7"] {
            assert!(subnet(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn either_family_is_told_by_its_form() {
        let read = |text: &str| text.parse::<AnySubnet>();
        assert!(matches!(read("10.1.0.0/16"), Ok(AnySubnet::V4(_))));
        assert!(matches!(read("fd00::/64"), Ok(AnySubnet::V6(_))));
        assert!(matches!(read("10.1.0.1/16"), Err(SubnetError::HostBits(..))));
        assert!(matches!(read("fd00::1/64"), Err(SubnetError::HostBits(..))));
        assert!(matches!(read("fd00::/129"), Err(SubnetError::Form(_))));
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
        let site: AddressPool<Ipv6Addr> = AddressPool { base: "fd00:1:2::/48".parse().unwrap(), size: 64 };
        let second = choose(&[site], &["fd00:1:2::/64".parse().unwrap()]).unwrap();
        assert_eq!(second.to_string(), "fd00:1:2:1::/64");
    }
}
