// SPDX-License-Identifier: Apache-2.0
//! v1's scales to v2's.

/// The kernel's default `cpu.max` period, in microseconds.
pub(super) const DEFAULT_PERIOD: u64 = 100_000;

/// CPU shares (2 to 262144, default 1024) to a weight (1 to 10000, default 100), as runc 1.4 and crun do it: a curve
/// through both ends and through the default, so that a container with default shares weighs what its neighbours without
/// any do.
pub(crate) fn shares_to_weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    // At most 262144, so exact as a float; the result lies between 1 and 10000.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    {
        let log = (shares as f64).log2();
        let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
        10f64.powf(exponent).ceil() as u64
    }
}

/// A block I/O weight (10 to 1000) to v2's (1 to 10000), linearly, as runc does it.
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}
