// SPDX-License-Identifier: Apache-2.0
//! Taking over what a former daemon left, and removing what belongs to nobody.

use std::collections::BTreeMap;

use errors::{Classify, Kind};
use firewall::Firewall;
use netlink::{Protocol as NetlinkProtocol, Socket};
use oci::ContainerId;

use crate::attachment::Attachment;
use crate::bridge::{self, Bridge};
use crate::claim::Claim;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::error::NetworkError;
use crate::forwarding;
use crate::id::NetworkId;
use crate::running::Running;
use crate::segment::Segment;
use crate::spec::BridgeSpec;
use crate::subnet::Subnet;

type Known = BTreeMap<NetworkId, BridgeSpec>;
type Live<'a> = [(ContainerId, Vec<Endpoint>)];

/// What these containers use; `None` if they use nothing.
pub(crate) fn adopt(config: &Config, known: &Known, live: &Live<'_>) -> Result<Option<Running>, NetworkError> {
    let mut specs = Known::new();
    for (container, endpoint) in endpoints(live) {
        if endpoint.network == NetworkId::bridge() {
            let subnet = Subnet::of(endpoint.address, endpoint.prefix);
            specs.entry(NetworkId::bridge()).or_insert_with(|| BridgeSpec::default_bridge(config, subnet));
        } else if let Some(spec) = known.get(&endpoint.network) {
            specs.insert(spec.id.clone(), spec.clone());
        } else {
            // Its record is gone, and with it what its bridge is called. The container keeps what the kernel has.
            let network = &endpoint.network;
            tracing::error!(%container, %network, "a container is in a network that there is no record of");
        }
    }
    let unused: Vec<&str> = known
        .iter()
        .filter(|(id, _)| !specs.contains_key(id))
        .map(|(_, spec)| spec.bridge.as_str())
        .chain((!specs.contains_key(&NetworkId::bridge())).then_some(config.bridge.as_str()))
        .collect();
    if specs.is_empty() {
        return remove_all(config, &unused).map(|()| None);
    }
    let mut running = Running::open(config)?;
    let mut created = Vec::new();
    match establish(&mut running, &specs, live, &mut created) {
        Ok(()) => {
            remove_strays(&mut running, live, &unused)?;
            Ok(Some(running))
        }
        Err(error) => {
            for bridge in created {
                bridge::delete_after_failure(&mut running.socket, &bridge);
            }
            Err(error)
        }
    }
}

fn endpoints<'a>(live: &'a Live<'_>) -> impl Iterator<Item = (&'a ContainerId, &'a Endpoint)> {
    live.iter().flat_map(|(container, endpoints)| endpoints.iter().map(move |endpoint| (container, endpoint)))
}

/// Bridges with those who are attached to them, and one table for all.
fn establish(
    running: &mut Running,
    specs: &Known,
    live: &Live<'_>,
    created: &mut Vec<String>,
) -> Result<(), NetworkError> {
    let mut bridges: Vec<(NetworkId, Bridge)> = Vec::new();
    for (id, spec) in specs {
        let bridge = bridge::establish(&mut running.socket, spec)?;
        if bridge.created {
            created.push(spec.bridge.clone());
        }
        let mut segment = Segment::new(spec, bridge.index);
        for (container, endpoint) in endpoints(live).filter(|(_, endpoint)| endpoint.network == *id) {
            segment.claim(endpoint, Attachment::adopted(container, endpoint))?;
        }
        running.segments.insert(id.clone(), segment);
        bridges.push((id.clone(), bridge));
    }
    // The table guards the host's loopback against what the setting after it opens.
    let has_ipv6 = specs.values().any(|spec| spec.ipv6.is_some());
    if has_ipv6 {
        running.note_transit()?;
    } else {
        // Those for whom it was have gone.
        forwarding::give_back()?;
    }
    running.replace_table(&[])?;
    running.forward()?;
    if has_ipv6 {
        running.forward_ipv6()?;
    }
    for (id, bridge) in bridges {
        running.connect(&id, bridge)?;
    }
    Ok(())
}

/// Deletes ports of our bridges that belong to nobody, and bridges that nobody uses.
fn remove_strays(running: &mut Running, live: &Live<'_>, unused: &[&str]) -> Result<(), NetworkError> {
    let bridges: Vec<u32> = running.segments.values().map(|segment| segment.index).collect();
    let keeps = |name: &str| endpoints(live).any(|(_, endpoint)| endpoint.host_interface == name);
    bridge::delete_ports(&mut running.socket, &bridges, keeps)?;
    remove_bridges(&mut running.socket, unused)
}

/// Removes what a daemon without containers left. If another process manages it, it is not what we left.
fn remove_all(config: &Config, bridges: &[&str]) -> Result<(), NetworkError> {
    let _claims = match Claim::both(config) {
        Err(NetworkError::Managed { .. }) => return Ok(()),
        other => other?,
    };
    let mut socket = Socket::open(NetlinkProtocol::Route)?;
    let default = match bridge::find(&mut socket, &config.bridge) {
        // Not ours. Whoever attaches a container will hear of it.
        Err(NetworkError::NotABridge { .. }) => return Ok(()),
        other => other?,
    };
    match Firewall::open(&config.table) {
        Ok(mut firewall) => {
            // First what the table guards.
            forwarding::give_back()?;
            firewall.delete()?;
        }
        // A kernel without a packet filter has no table of ours.
        Err(error) if default.is_none() && error.kind() == Kind::Unsupported => {}
        Err(error) => return Err(error.into()),
    }
    remove_bridges(&mut socket, bridges)
}

fn remove_bridges(socket: &mut Socket, names: &[&str]) -> Result<(), NetworkError> {
    for name in names {
        let link = match bridge::find(socket, name) {
            // Not ours.
            Err(NetworkError::NotABridge { .. }) => continue,
            other => other?,
        };
        let Some(link) = link else { continue };
        bridge::delete_ports(socket, &[link.index], |_| false)?;
        bridge::delete(socket, name)?;
    }
    Ok(())
}
