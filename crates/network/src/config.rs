// SPDX-License-Identifier: Apache-2.0
//! What a network is called and where its addresses come from.

use std::net::Ipv4Addr;

use crate::error::NetworkError;
use crate::ip::Ip;
use crate::spec::Traits;
use crate::subnet::Subnet;

/// The longest name of an interface, in bytes (`IFNAMSIZ`, less the final NUL).
const LONGEST_INTERFACE_NAME: usize = 15;
/// The longest name of an nf_tables table that every kernel takes, in bytes.
const LONGEST_TABLE_NAME: usize = 31;

/// All names are the caller's, so that several daemons can live side by side.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bridge's name. Default: `corten0`.
    pub bridge: String,
    /// The containers' subnet, as the gateway's or any of its addresses and its length. Default: the first of
    /// `address_pools` that collides with nothing.
    pub subnet: Option<(Ipv4Addr, u8)>,
    /// The part of that subnet from which the default bridge's addresses are chosen. Default: all of it.
    pub range: Option<Subnet>,
    /// How the default bridge behaves.
    pub traits: Traits,
    /// The name of the nf_tables table (family inet). Default: `corten`.
    pub table: String,
    /// How many prepared namespaces to keep. Default: 4. With 0 each is made when it is asked for.
    pub pool: usize,
    /// Where subnets may be taken from, in this order. Default: as Docker's, 172.17.0.0/16 to 172.31.0.0/16, then
    /// 192.168.0.0/16 in pieces of /20.
    pub address_pools: Vec<AddressPool>,
}

/// A range of addresses, to be cut into subnets of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool<A = Ipv4Addr> {
    /// The whole range.
    pub base: Subnet<A>,
    /// The length of each subnet's prefix.
    pub size: u8,
}

impl Default for Config {
    fn default() -> Config {
        let pool = |a, b, prefix, size| AddressPool { base: Subnet::of(Ipv4Addr::new(a, b, 0, 0), prefix), size };
        let mut address_pools: Vec<AddressPool> = (17..=31).map(|second| pool(172, second, 16, 16)).collect();
        address_pools.push(pool(192, 168, 16, 20));
        Config {
            bridge: "corten0".to_owned(),
            subnet: None,
            range: None,
            traits: Traits::default(),
            table: "corten".to_owned(),
            pool: 4,
            address_pools,
        }
    }
}

impl Config {
    /// Refuses names and sizes that the kernel would refuse later, or worse, take for something else.
    pub(crate) fn validate(&self) -> Result<(), NetworkError> {
        interface_name(&self.bridge)?;
        name("table", &self.table, LONGEST_TABLE_NAME)?;
        self.traits.validate(false)?;
        let wanted = self.subnet.map(|(address, prefix)| Subnet::of(address, prefix));
        match (self.range, wanted) {
            (Some(_), None) => return Err(NetworkError::WithoutSubnet),
            (Some(range), Some(subnet)) if !subnet.contains(range.network()) || !subnet.contains(range.last()) => {
                return Err(NetworkError::RangeOutside { range: Ip::any(range), subnet: Ip::any(subnet) });
            }
            _ => {}
        }
        wanted.map_or(Ok(()), Subnet::check)
    }
}

/// Refuses what no bridge can be called: also what stands for all interfaces where the kernel keeps their settings.
pub(crate) fn interface_name(bridge: &str) -> Result<(), NetworkError> {
    if ["all", "default"].contains(&bridge) {
        return Err(NetworkError::NameForAll(bridge.to_owned()));
    }
    name("bridge", bridge, LONGEST_INTERFACE_NAME)
}

fn name(what: &'static str, name: &str, longest: usize) -> Result<(), NetworkError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if name.is_empty() || name.len() > longest || name.starts_with(['.', '-']) || !name.bytes().all(allowed) {
        return Err(NetworkError::Name { what, name: name.chars().take(64).collect(), longest });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_or_too_long_are_refused() {
        for bad in ["", "..", "a/b", "a b", "-x", "sixteen-letters-", "ü"] {
            let config = Config { bridge: bad.to_owned(), ..Config::default() };
            assert!(matches!(config.validate(), Err(NetworkError::Name { what: "bridge", .. })), "{bad}");
        }
        for bad in ["all", "default"] {
            assert!(matches!(interface_name(bad), Err(NetworkError::NameForAll(_))), "{bad}");
        }
        let config = Config { subnet: Some((Ipv4Addr::new(10, 0, 0, 0), 31)), ..Config::default() };
        assert!(matches!(config.validate(), Err(NetworkError::SubnetSize { .. })));
        Config::default().validate().unwrap();
    }
}
