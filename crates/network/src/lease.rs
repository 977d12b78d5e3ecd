// SPDX-License-Identifier: Apache-2.0
//! Who has which address of the subnet.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::ip::Ip;
use crate::layout::Layout;

/// The leased addresses, each with what its holder is remembered by.
#[derive(Debug)]
pub(crate) struct Leases<T, A = Ipv4Addr> {
    holders: BTreeMap<A, T>,
    /// The first and the last address that may be chosen.
    bounds: (u128, u128),
    /// No address below this is free to be chosen: what makes the next lease cheap however many there are.
    lowest: u128,
}

impl<T, A: Ip> Leases<T, A> {
    /// All addresses of the network are free.
    pub(crate) fn new(layout: &Layout<A>) -> Leases<T, A> {
        let subnet = layout.subnet;
        let range = layout.range.unwrap_or(subnet);
        let first = range.network().to_number().max(subnet.network().to_number() + 1);
        let last = range.last().to_number().min(subnet.last().to_number() - u128::from(A::HAS_BROADCAST));
        Leases { holders: BTreeMap::new(), bounds: (first, last), lowest: first }
    }

    /// The lowest free address that may be chosen; `None` if there is none.
    pub(crate) fn free_address(&mut self, layout: &Layout<A>) -> Option<A> {
        let taken = |number: u128| {
            let address = A::from_number(number);
            self.holders.contains_key(&address) || !layout.is_for_containers(address)
        };
        while self.lowest <= self.bounds.1 && taken(self.lowest) {
            self.lowest += 1;
        }
        (self.lowest <= self.bounds.1).then(|| A::from_number(self.lowest))
    }

    /// The address that stands as far behind the first as this, if it is free and may be chosen.
    pub(crate) fn free_at(&self, layout: &Layout<A>, offset: u128) -> Option<A> {
        let number = layout.range.unwrap_or(layout.subnet).network().to_number().checked_add(offset)?;
        let address = A::from_number(number);
        let may_be_chosen = (self.bounds.0..=self.bounds.1).contains(&number) && layout.is_for_containers(address);
        (may_be_chosen && !self.holders.contains_key(&address)).then_some(address)
    }

    /// Leases this address; gives the holder back if it is taken or not to be had in this network.
    pub(crate) fn claim(&mut self, layout: &Layout<A>, address: A, holder: T) -> Result<(), T> {
        if !layout.is_for_containers(address) || self.holders.contains_key(&address) {
            return Err(holder);
        }
        self.holders.insert(address, holder);
        Ok(())
    }

    /// Ends a lease.
    pub(crate) fn end(&mut self, address: A) -> Option<T> {
        let holder = self.holders.remove(&address)?;
        if (self.bounds.0..=self.bounds.1).contains(&address.to_number()) {
            self.lowest = self.lowest.min(address.to_number());
        }
        Some(holder)
    }

    /// Who has this address.
    pub(crate) fn holder(&self, address: A) -> Option<&T> {
        self.holders.get(&address)
    }

    /// The same, to be changed.
    pub(crate) fn holder_mut(&mut self, address: A) -> Option<&mut T> {
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
    pub(crate) fn capacity(&self, layout: &Layout<A>) -> u64 {
        let (first, last) = self.bounds;
        let kept = [&layout.gateway].into_iter().chain(&layout.reserved);
        let kept = kept.filter(|address| (first..=last).contains(&address.to_number())).count();
        // An address that is reserved twice counts twice; no more than all are kept.
        let count = (last + 1).saturating_sub(first).saturating_sub(kept as u128);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::subnet::Subnet;

    fn network(range: Option<&str>, reserved: &[[u8; 4]]) -> Layout {
        let subnet: Subnet = "10.0.0.0/29".parse().unwrap();
        Layout {
            subnet,
            gateway: subnet.gateway(),
            range: range.map(|range| range.parse().unwrap()),
            reserved: reserved.iter().map(|&address| address.into()).collect(),
        }
    }

    fn next(leases: &mut Leases<&'static str>, spec: &Layout) -> Option<u8> {
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
    #[test]
    fn an_ipv6_network_has_more_addresses_than_are_ever_counted() {
        let subnet: Subnet<Ipv6Addr> = "fd00::/64".parse().unwrap();
        let layout = Layout { subnet, gateway: subnet.gateway(), range: None, reserved: vec![] };
        let mut leases: Leases<&str, Ipv6Addr> = Leases::new(&layout);
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        assert_eq!(leases.capacity(&layout), u64::MAX - 1, "all but the network's own and the gateway's");
        assert_eq!(leases.free_address(&layout), Some(address("fd00::2")));
        assert_eq!(leases.free_at(&layout, 7), Some(address("fd00::7")));
        leases.claim(&layout, address("fd00::7"), "it").unwrap();
        assert_eq!((leases.free_at(&layout, 7), leases.free_at(&layout, 1)), (None, None), "taken; the gateway's");
        assert_eq!(leases.free_at(&layout, u128::MAX), None);
        leases.claim(&layout, subnet.last(), "the last").unwrap();
        assert!(leases.claim(&layout, address("fd01::1"), "elsewhere").is_err());
    }
}
