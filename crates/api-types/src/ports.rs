// SPDX-License-Identifier: Apache-2.0
//! Other published ports for a container: `POST /corten/v1/containers/{name}/ports`.

use serde::{Deserialize, Serialize};

use crate::docker::PortMap;

/// What shall be published of a container beside what is, and what no longer; in the form of Docker's `PortBindings`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct PortChangeRequest {
    /// New ones.
    pub publish: PortMap,
    /// Those to end; without a host's port or address, all of that port of the container's.
    pub withdraw: PortMap,
}
