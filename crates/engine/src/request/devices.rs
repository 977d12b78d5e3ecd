// SPDX-License-Identifier: Apache-2.0
//! Devices of the host that a container is given.

use serde::{Deserialize, Serialize};

/// What of the host's devices a container has beyond `/dev/null` and its like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Devices {
    /// Device files, or directories of them.
    pub mappings: Vec<DeviceMapping>,
    /// Further rules about devices that may be used, in the kernel's notation (`c 42:* rmw`).
    pub rules: Vec<String>,
    /// Devices that their vendor describes (the Container Device Interface).
    pub requests: Vec<DeviceRequest>,
}

/// A device file, or a directory of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMapping {
    /// Its absolute path on the host.
    pub host: String,
    /// Its absolute path in the container.
    pub container: String,
    /// What may be done with it: some of `rwm` (read, write, make).
    pub access: String,
}

/// A wish for devices by what they are, as Docker's clients write it. Kept whole, because `inspect` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// `cdi`, a vendor, or nothing.
    pub driver: String,
    /// How many; -1 for all.
    pub count: i64,
    /// Which; full names (`vendor.com/class=name`) with the driver `cdi`.
    pub ids: Vec<String>,
    /// Any of these sets of abilities.
    pub capabilities: Vec<Vec<String>>,
    /// What the driver shall know; there is none that knows anything.
    pub options: std::collections::BTreeMap<String, String>,
}

/// A number that holds for one block device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimit {
    /// The device file's absolute path.
    pub path: String,
    /// A weight, bytes per second, or operations per second.
    pub value: u64,
}
