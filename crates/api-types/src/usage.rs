// SPDX-License-Identifier: Apache-2.0
//! What containers use, many at a time: `GET /corten/v1/stats`. Docker's route tells more of one container; of a thousand
//! that is some megabytes, of which a table shows twelve numbers each.

use serde::{Deserialize, Serialize};

/// What many containers use.
pub const USAGE_ROUTE: &str = "/corten/v1/stats";

/// One container in the answer to `GET /corten/v1/stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerUsage {
    /// What was asked for: a name or an id; the id where all were asked for.
    pub asked: String,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What was counted; nothing of one that does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Usage>,
}

/// What a running container uses, and has used since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Usage {
    /// Processor time since its start, in nanoseconds.
    pub processor_ns: u64,
    /// The machine's processor time since its start, idle time included, in nanoseconds.
    pub machine_ns: u64,
    /// The machine's processors that are online.
    pub processors: u32,
    /// Memory in bytes, without what the kernel only keeps because there is room: files nobody has read lately.
    pub memory: u64,
    /// The most memory it can get, in bytes.
    pub memory_limit: u64,
    /// Bytes that came in by its interfaces.
    pub received: u64,
    /// Bytes that went out by them.
    pub sent: u64,
    /// Bytes read from block devices.
    pub read: u64,
    /// Bytes written to them.
    pub written: u64,
    /// Processes and threads.
    pub tasks: u64,
}
