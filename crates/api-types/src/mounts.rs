// SPDX-License-Identifier: Apache-2.0
//! Other mounts for a container: `CortenMounts` in the body of `POST /containers/{id}/update`.

use serde::{Deserialize, Serialize};

use crate::docker::Mount;

/// What shall be mounted into a container beside what is, and what no longer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct MountChangeRequest {
    /// New ones, in the form of Docker's `HostConfig.Mounts`.
    pub add: Vec<Mount>,
    /// Those to end, by where they are in the container.
    pub remove: Vec<String>,
}
