// SPDX-License-Identifier: Apache-2.0
//! What IPv4 and IPv6 addresses have in common: they are numbers, of which some are a subnet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use netlink::route::Family;

use crate::subnet::{AnySubnet, Subnet};

/// An address of either family.
pub trait Ip: Family + Ord + Into<IpAddr> {
    /// The lengths of prefix that a network may have: with room for a gateway and a container, and no good part of the
    /// Internet.
    const SIZES: RangeInclusive<u8>;
    /// Whether the last address of a subnet is everybody's.
    const HAS_BROADCAST: bool;

    /// The address as a number of as many bits.
    fn to_number(self) -> u128;
    /// The address that a number's lowest bits are.
    fn from_number(number: u128) -> Self;
    /// Whether addresses such as this one are single hosts', on links of whatever kind.
    fn is_hosts(self) -> bool;
    /// The subnet of whichever family.
    fn any(subnet: Subnet<Self>) -> AnySubnet;
}

impl Ip for Ipv4Addr {
    const SIZES: RangeInclusive<u8> = 8..=30;
    const HAS_BROADCAST: bool = true;

    fn to_number(self) -> u128 {
        self.to_bits().into()
    }

    fn from_number(number: u128) -> Ipv4Addr {
        Ipv4Addr::from_bits(number as u32)
    }

    fn is_hosts(self) -> bool {
        !self.is_multicast()
    }

    fn any(subnet: Subnet) -> AnySubnet {
        AnySubnet::V4(subnet)
    }
}

impl Ip for Ipv6Addr {
    const SIZES: RangeInclusive<u8> = 32..=126;
    const HAS_BROADCAST: bool = false;

    fn to_number(self) -> u128 {
        self.to_bits()
    }

    fn from_number(number: u128) -> Ipv6Addr {
        Ipv6Addr::from_bits(number)
    }

    /// Global (2000::/3, RFC 4291) or unique local (fc00::/7, RFC 4193): what stands for IPv4 addresses, for a link or for
    /// groups is none.
    fn is_hosts(self) -> bool {
        let [first, ..] = self.octets();
        first & 0xe0 == 0x20 || first & 0xfe == 0xfc
    }

    fn any(subnet: Subnet<Ipv6Addr>) -> AnySubnet {
        AnySubnet::V6(subnet)
    }
}
