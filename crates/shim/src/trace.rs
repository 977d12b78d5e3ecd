// SPDX-License-Identifier: Apache-2.0
//! Steps of a start, with their times.

use serde::{Deserialize, Serialize};

/// One step that was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// When it was done, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
}
