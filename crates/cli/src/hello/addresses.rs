// SPDX-License-Identifier: Apache-2.0
//! This process's network addresses, read from `/proc/net`.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::identity::read;

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Address {
    /// The interface's name.
    pub(crate) interface: String,
    /// The address.
    pub(crate) address: String,
}

/// All addresses, by interface.
pub(crate) fn gather() -> Vec<Address> {
    let mut addresses = version_4(&read("/proc/net/fib_trie"), &read("/proc/net/route"));
    addresses.extend(version_6(&read("/proc/net/if_inet6")));
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The addresses that the routing trie calls local, each with the interface whose subnet it is in.
fn version_4(trie: &str, routes: &str) -> Vec<Address> {
    let mut last = None;
    let mut found = Vec::new();
    for line in trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = last
        {
            let interface = if address.is_loopback() { Some("lo") } else { interface_of(address, routes) };
            found.push(Address { interface: interface.unwrap_or("?").to_owned(), address: address.to_string() });
        }
    }
    found
}

/// The interface with the narrowest subnet that `address` is in.
fn interface_of(address: Ipv4Addr, routes: &str) -> Option<&str> {
    // The kernel prints addresses as the machine keeps them: network order, read as a native number.
    let native = u32::from_ne_bytes(address.octets());
    let candidates = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
        let (destination, gateway, mask) = (number(1)?, number(2)?, number(7)?);
        let fits = gateway == 0 && mask != 0 && native & mask == destination;
        fits.then_some((mask.count_ones(), fields[0]))
    });
    candidates.max_by_key(|(bits, _)| *bits).map(|(_, interface)| interface)
}

/// The lines of `if_inet6`: address, index, prefix length, scope, flags, interface.
fn version_6(table: &str) -> Vec<Address> {
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let address = u128::from_str_radix(fields.first()?, 16).ok()?;
            Some(Address { interface: (*fields.get(5)?).to_owned(), address: Ipv6Addr::from(address).to_string() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: &str, address: &str) -> Address {
        Address { interface: interface.into(), address: address.into() }
    }

    #[test]
    fn local_addresses_find_their_interface() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /16 link UNICAST\n     |-- 10.0.0.2\n        /32 host LOCAL\n     |-- 10.0.255.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let number = |a: u8, b: u8| format!("{:08X}", u32::from_ne_bytes([a, b, 0, 0]));
        let routes = format!(
            "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 {} 0003 0 0 0 00000000\neth0 {} 00000000 0001 0 0 0 {}\n",
            number(10, 1),
            number(10, 0),
            number(255, 255),
        );
        assert_eq!(version_4(trie, &routes), [address("eth0", "10.0.0.2"), address("lo", "127.0.0.1")]);
        assert_eq!(version_4(trie, ""), [address("?", "10.0.0.2"), address("lo", "127.0.0.1")]);
    }

    #[test]
    fn version_6_stands_in_one_line() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\nfe80000000000000000000fffe000001 02 40 20 80 eth0\nx\n";
        assert_eq!(version_6(table)[0], address("lo", "::1"));
        assert_eq!(version_6(table).len(), 2);
    }
}
