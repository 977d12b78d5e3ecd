// SPDX-License-Identifier: Apache-2.0
//! IPv4 and IPv6, where rtnetlink treats them alike.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::decode::{Malformed, array};

/// A family of addresses.
pub trait Family: Copy + fmt::Debug + fmt::Display + Eq {
    /// As rtnetlink numbers it (`AF_INET`, `AF_INET6`).
    const NUMBER: u8;
    /// How many bits an address has.
    const BITS: u8;
    /// The address that stands for any.
    const UNSPECIFIED: Self;

    /// The address in network byte order.
    fn to_bytes(self) -> Vec<u8>;
    /// The address that these bytes begin with.
    ///
    /// # Errors
    /// They are too few.
    fn read(bytes: &[u8]) -> Result<Self, Malformed>;
    /// The address to which all of a network listen, where the family has one.
    fn broadcast(self, prefix: u8) -> Option<Self>;
}

impl Family for Ipv4Addr {
    const NUMBER: u8 = 2;
    const BITS: u8 = 32;
    const UNSPECIFIED: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

    fn to_bytes(self) -> Vec<u8> {
        self.octets().to_vec()
    }

    fn read(bytes: &[u8]) -> Result<Ipv4Addr, Malformed> {
        Ok(array::<4>(bytes)?.into())
    }

    fn broadcast(self, prefix: u8) -> Option<Ipv4Addr> {
        let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        Some(Ipv4Addr::from_bits(self.to_bits() | hosts))
    }
}

impl Family for Ipv6Addr {
    const NUMBER: u8 = 10;
    const BITS: u8 = 128;
    const UNSPECIFIED: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

    fn to_bytes(self) -> Vec<u8> {
        self.octets().to_vec()
    }

    fn read(bytes: &[u8]) -> Result<Ipv6Addr, Malformed> {
        Ok(array::<16>(bytes)?.into())
    }

    fn broadcast(self, _: u8) -> Option<Ipv6Addr> {
        None
    }
}
