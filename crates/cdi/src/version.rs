// SPDX-License-Identifier: Apache-2.0
//! Versions of the specification: a file may use what its version has, and nothing newer.

use crate::edits::Edits;

/// Released versions, oldest first.
const RELEASED: [(u32, u32, u32); 8] =
    [(0, 3, 0), (0, 4, 0), (0, 5, 0), (0, 6, 0), (0, 7, 0), (0, 8, 0), (1, 0, 0), (1, 1, 0)];

/// A version of the specification.
pub(crate) type Version = (u32, u32, u32);

/// The released version that `text` names.
pub(crate) fn parse(text: &str) -> Option<Version> {
    RELEASED.into_iter().find(|(major, minor, patch)| text == format!("{major}.{minor}.{patch}"))
}

/// The oldest version that has what these edits use.
pub(crate) fn of_edits(edits: &Edits) -> Version {
    let uses = [
        (edits.mounts.iter().any(|mount| !mount.kind.is_empty()), (0, 4, 0)),
        (edits.device_nodes.iter().any(|node| !node.host_path.is_empty()), (0, 5, 0)),
        (edits.intel_rdt.is_some() || !edits.additional_gids.is_empty(), (0, 7, 0)),
        (edits.intel_rdt.as_ref().is_some_and(|rdt| rdt.enable_monitoring || !rdt.schemata.is_empty()), (1, 1, 0)),
        (!edits.net_devices.is_empty(), (1, 1, 0)),
    ];
    uses.into_iter().filter(|(used, _)| *used).map(|(_, version)| version).max().unwrap_or((0, 3, 0))
}
