// SPDX-License-Identifier: Apache-2.0
//! Who has which address of the subnet.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::subnet::Subnet;

/// The leased addresses, each with what its holder is remembered by.
#[derive(Debug)]
pub(crate) struct Leases<T> {
    subnet: Subnet,
    holders: BTreeMap<Ipv4Addr, T>,
    /// No address below this is free: what makes the next lease cheap however many there are.
    lowest: u32,
}

impl<T> Leases<T> {
    /// All of `subnet`, but for its gateway, is free.
    pub(crate) fn new(subnet: Subnet) -> Leases<T> {
        Leases { subnet, holders: BTreeMap::new(), lowest: first(subnet) }
    }

    /// The lowest free address; `None` if there is none.
    pub(crate) fn free_address(&mut self) -> Option<Ipv4Addr> {
        let last = self.subnet.broadcast().to_bits() - 1;
        while self.lowest <= last && self.holders.contains_key(&Ipv4Addr::from_bits(self.lowest)) {
            self.lowest += 1;
        }
        (self.lowest <= last).then(|| Ipv4Addr::from_bits(self.lowest))
    }

    /// Leases this address; gives the holder back if it is taken or not to be had in this subnet.
    pub(crate) fn claim(&mut self, address: Ipv4Addr, holder: T) -> Result<(), T> {
        let bits = address.to_bits();
        let ours = bits >= first(self.subnet) && bits < self.subnet.broadcast().to_bits();
        if !ours || self.holders.contains_key(&address) {
            return Err(holder);
        }
        self.holders.insert(address, holder);
        Ok(())
    }

    /// Ends a lease.
    pub(crate) fn end(&mut self, address: Ipv4Addr) -> Option<T> {
        let holder = self.holders.remove(&address)?;
        self.lowest = self.lowest.min(address.to_bits());
        Some(holder)
    }

    /// Who has this address.
    pub(crate) fn holder(&self, address: Ipv4Addr) -> Option<&T> {
        self.holders.get(&address)
    }

    /// All holders, by address.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &T> {
        self.holders.values()
    }

    /// How many addresses are leased.
    pub(crate) fn count(&self) -> usize {
        self.holders.len()
    }

    /// How many addresses there are to lease.
    pub(crate) fn capacity(&self) -> u32 {
        self.subnet.broadcast().to_bits() - first(self.subnet)
    }
}

/// The first address after the gateway's.
fn first(subnet: Subnet) -> u32 {
    subnet.gateway().to_bits() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases() -> Leases<&'static str> {
        Leases::new(Subnet::of(Ipv4Addr::new(10, 0, 0, 0), 29))
    }

    fn next(leases: &mut Leases<&'static str>) -> Option<u8> {
        let address = leases.free_address()?;
        leases.claim(address, "someone").unwrap();
        Some(address.octets()[3])
    }

    #[test]
    fn the_lowest_free_address_is_next_until_none_is_left() {
        let mut leases = leases();
        let all: Vec<u8> = std::iter::from_fn(|| next(&mut leases)).collect();
        assert_eq!(all, [2, 3, 4, 5, 6], "not the network, the gateway or the broadcast address");
        assert_eq!(leases.capacity(), 5);
        for last in [5, 3] {
            leases.end(Ipv4Addr::new(10, 0, 0, last)).unwrap();
        }
        assert_eq!([next(&mut leases), next(&mut leases), next(&mut leases)], [Some(3), Some(5), None]);
    }

    #[test]
    fn no_address_is_leased_twice_and_none_from_elsewhere() {
        let mut leases = leases();
        leases.claim(Ipv4Addr::new(10, 0, 0, 4), "a").unwrap();
        for bad in [[10, 0, 0, 4], [10, 0, 0, 1], [10, 0, 0, 0], [10, 0, 0, 7], [10, 0, 0, 8], [9, 0, 0, 2]] {
            assert_eq!(leases.claim(bad.into(), "b"), Err("b"), "{bad:?}");
        }
        assert_eq!(leases.end(Ipv4Addr::new(10, 0, 0, 4)), Some("a"));
        assert_eq!(leases.end(Ipv4Addr::new(10, 0, 0, 4)), None);
    }
}
