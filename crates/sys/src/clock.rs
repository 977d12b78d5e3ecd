// SPDX-License-Identifier: Apache-2.0
//! The clock by which steps are timed.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on `CLOCK_MONOTONIC`: the same clock in every process of the machine, so steps of the client, the
/// daemon and the container's child can be put on one line (time namespaces shift it inside a container).
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
