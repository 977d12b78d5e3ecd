// SPDX-License-Identifier: Apache-2.0
//! Who has which address of the subnet.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::spec::BridgeSpec;

/// The leased addresses, each with what its holder is remembered by.
#[derive(Debug)]
pub(crate) struct Leases<T> {
    holders: BTreeMap<Ipv4Addr, T>,
    /// The first and the last address that may be chosen.
    bounds: (u32, u32),
    /// No address below this is free to be chosen: what makes the next lease cheap however many there are.
    lowest: u32,
}

impl<T> Leases<T> {
    /// All addresses of the network are free.
    pub(crate) fn new(spec: &BridgeSpec) -> Leases<T> {
        let subnet = spec.subnet;
        let range = spec.range.unwrap_or(subnet);
        let first = range.network().to_bits().max(subnet.network().to_bits() + 1);
        let last = range.broadcast().to_bits().min(subnet.broadcast().to_bits() - 1);
        Leases { holders: BTreeMap::new(), bounds: (first, last), lowest: first }
    }

    /// The lowest free address that may be chosen; `None` if there is none.
    pub(crate) fn free_address(&mut self, spec: &BridgeSpec) -> Option<Ipv4Addr> {
        let taken = |bits: u32| {
            let address = Ipv4Addr::from_bits(bits);
            self.holders.contains_key(&address) || !spec.is_for_containers(address)
        };
        while self.lowest <= self.bounds.1 && taken(self.lowest) {
            self.lowest += 1;
        }
        (self.lowest <= self.bounds.1).then(|| Ipv4Addr::from_bits(self.lowest))
    }

    /// Leases this address; gives the holder back if it is taken or not to be had in this network.
    pub(crate) fn claim(&mut self, spec: &BridgeSpec, address: Ipv4Addr, holder: T) -> Result<(), T> {
        if !spec.is_for_containers(address) || self.holders.contains_key(&address) {
            return Err(holder);
        }
        self.holders.insert(address, holder);
        Ok(())
    }

    /// Ends a lease.
    pub(crate) fn end(&mut self, address: Ipv4Addr) -> Option<T> {
        let holder = self.holders.remove(&address)?;
        if (self.bounds.0..=self.bounds.1).contains(&address.to_bits()) {
            self.lowest = self.lowest.min(address.to_bits());
        }
        Some(holder)
    }

    /// Who has this address.
    pub(crate) fn holder(&self, address: Ipv4Addr) -> Option<&T> {
        self.holders.get(&address)
    }

    /// The same, to be changed.
    pub(crate) fn holder_mut(&mut self, address: Ipv4Addr) -> Option<&mut T> {
        self.holders.get_mut(&address)
    }

    /// All holders, by address.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &T> {
        self.holders.values()
    }

    /// How many addresses are leased.
    pub(crate) fn count(&self) -> usize {
        self.holders.len()
    }

    /// How many addresses there are to choose from.
    pub(crate) fn capacity(&self, spec: &BridgeSpec) -> u32 {
        let (first, last) = self.bounds;
        let kept = [&spec.gateway].into_iter().chain(&spec.reserved);
        let kept = kept.filter(|address| (first..=last).contains(&address.to_bits())).count();
        // An address that is reserved twice counts twice; no more than all are kept.
        (last + 1).saturating_sub(first).saturating_sub(u32::try_from(kept).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn network(range: Option<&str>, reserved: &[[u8; 4]]) -> BridgeSpec {
        let subnet = "10.0.0.0/29".parse().unwrap();
        BridgeSpec {
            range: range.map(|range| range.parse().unwrap()),
            reserved: reserved.iter().map(|&address| address.into()).collect(),
            ..BridgeSpec::default_bridge(&Config::default(), subnet)
        }
    }

    fn next(leases: &mut Leases<&'static str>, spec: &BridgeSpec) -> Option<u8> {
        let address = leases.free_address(spec)?;
        leases.claim(spec, address, "someone").unwrap();
        Some(address.octets()[3])
    }

    #[test]
    fn the_lowest_free_address_is_next_until_none_is_left() {
        let spec = network(None, &[]);
        let mut leases = Leases::new(&spec);
        let all: Vec<u8> = std::iter::from_fn(|| next(&mut leases, &spec)).collect();
        assert_eq!(all, [2, 3, 4, 5, 6], "not the network, the gateway or the broadcast address");
        assert_eq!(leases.capacity(&spec), 5);
        for last in [5, 3] {
            leases.end(Ipv4Addr::new(10, 0, 0, last)).unwrap();
        }
        assert_eq!([0; 3].map(|_| next(&mut leases, &spec)), [Some(3), Some(5), None]);
    }

    #[test]
    fn no_address_is_leased_twice_and_none_from_elsewhere() {
        let spec = network(None, &[[10, 0, 0, 6]]);
        let mut leases = Leases::new(&spec);
        leases.claim(&spec, Ipv4Addr::new(10, 0, 0, 4), "a").unwrap();
        let bad =
            [[10, 0, 0, 4], [10, 0, 0, 1], [10, 0, 0, 0], [10, 0, 0, 7], [10, 0, 0, 8], [9, 0, 0, 2], [10, 0, 0, 6]];
        for bad in bad {
            assert_eq!(leases.claim(&spec, bad.into(), "b"), Err("b"), "{bad:?}");
        }
        assert_eq!(leases.end(Ipv4Addr::new(10, 0, 0, 4)), Some("a"));
        assert_eq!(leases.end(Ipv4Addr::new(10, 0, 0, 4)), None);
    }

    #[test]
    fn addresses_are_chosen_from_the_range_and_may_be_wished_from_all_of_the_subnet() {
        let spec = network(Some("10.0.0.4/30"), &[[10, 0, 0, 5]]);
        let mut leases = Leases::new(&spec);
        leases.claim(&spec, Ipv4Addr::new(10, 0, 0, 2), "wished").unwrap();
        let all: Vec<u8> = std::iter::from_fn(|| next(&mut leases, &spec)).collect();
        assert_eq!((all, leases.capacity(&spec)), (vec![4, 6], 2));
        leases.end(Ipv4Addr::new(10, 0, 0, 2)).unwrap();
        assert_eq!(next(&mut leases, &spec), None, "it is not one to be chosen");
    }
}
