// SPDX-License-Identifier: Apache-2.0
//! Names of containers, as those in the same network see them.

use std::net::IpAddr;

use network::NetworkId;
use oci::ContainerId;

use crate::Engine;
use crate::container::Record;

impl Engine {
    /// The addresses that a name has for a container: those of whoever bears it in the first of its networks where anybody
    /// does. `None` when nobody does. Case does not matter, nor a final dot.
    pub(crate) fn resolve_name(&self, asker: &ContainerId, name: &str) -> Option<Vec<IpAddr>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let asker = self.container(asker.as_str()).ok()?.record();
        let places = asker.places();
        // As Docker has it: the network that leads outside is asked first, then the others by name.
        let mut networks: Vec<_> = places.iter().filter(|place| !super::is_predefined(&place.network)).collect();
        networks.sort_by_key(|place| {
            (std::cmp::Reverse(place.wish.map_or(0, |wish| wish.gw_priority)), place.name.to_owned())
        });
        networks.into_iter().find_map(|place| {
            let links = place.wish.map_or(&[][..], |wish| &wish.links);
            let linked = links.iter().find_map(|link| {
                let (target, alias) = link.split_once(':').unwrap_or((link, link));
                alias.eq_ignore_ascii_case(name).then_some(target)
            });
            let wanted = linked.unwrap_or(name);
            let within = suffixed(wanted, place.name).unwrap_or(wanted);
            let addresses = self.bearers(&place.network, |names| {
                names.iter().any(|known| known.eq_ignore_ascii_case(wanted) || known.eq_ignore_ascii_case(within))
            });
            (!addresses.is_empty()).then_some(addresses)
        })
    }

    /// The name of whoever has an address in one of a container's networks, with the network's behind it.
    pub(crate) fn resolve_address(&self, asker: &ContainerId, address: IpAddr) -> Option<String> {
        let asker = self.container(asker.as_str()).ok()?.record();
        let mut networks = asker.places().into_iter().filter(|place| !super::is_predefined(&place.network));
        networks.find_map(|place| {
            let member = self
                .members(&place.network)
                .into_iter()
                .find(|member| member.endpoint.addresses().any(|own| own == address))?;
            Some(format!("{}.{}", member.name, place.name))
        })
    }

    /// The addresses of those in a network whose names fit; of several those that are ready, where that decides about who is
    /// reached, and all where none is.
    fn bearers(&self, network: &NetworkId, fits: impl Fn(&[String]) -> bool) -> Vec<IpAddr> {
        let registry = self.registry();
        let addresses = |record: &Record| {
            let endpoint = record.state.running()?.in_network(network)?;
            let place = record.places().into_iter().find(|place| place.network == *network)?;
            fits(&place.dns_names).then(|| (endpoint.addresses(), !record.holds_ports_back()))
        };
        let bearers: Vec<_> =
            registry.by_id.values().filter_map(|container| container.with_record(addresses)).collect();
        let some_are_ready = bearers.iter().any(|(_, is_ready)| *is_ready);
        let reached = bearers.into_iter().filter(|(_, is_ready)| *is_ready || !some_are_ready);
        let mut addresses: Vec<IpAddr> = reached.flat_map(|(addresses, _)| addresses).collect();
        addresses.sort_unstable();
        addresses
    }
}

/// `NAME.NETWORK` without the network.
fn suffixed<'a>(name: &'a str, network: &str) -> Option<&'a str> {
    let (before, suffix) = name.split_at_checked(name.len().checked_sub(network.len())?)?;
    before.strip_suffix('.').filter(|rest| !rest.is_empty() && suffix.eq_ignore_ascii_case(network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_the_networks_behind_it() {
        assert_eq!(suffixed("db.Back.end", "back.END"), Some("db"));
        for (name, network) in [("db", "back"), (".back", "back"), ("dbback", "back"), ("ü", "x"), ("back", "back")] {
            assert_eq!(suffixed(name, network), None, "{name}");
        }
    }
}
