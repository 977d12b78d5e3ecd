// SPDX-License-Identifier: Apache-2.0
//! Durations, counted by how long they were.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many durations there were up to each of some bounds. May be counted from many threads at once, and needs no
/// initialisation at run time.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    /// Each for itself; those above the last bound are in `count` only.
    buckets: [AtomicU64; N],
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// Nothing was counted yet. `bounds`: the largest duration of each bucket, in seconds, ascending.
    pub const fn new(bounds: &'static [f64; N]) -> Histogram<N> {
        Histogram {
            bounds,
            buckets: [const { AtomicU64::new(0) }; N],
            count: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Counts one.
    pub fn note(&self, took: Duration) {
        let add = |counter: &AtomicU64, amount| counter.fetch_add(amount, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        if let Some(at) = self.bounds.iter().position(|bound| seconds <= *bound) {
            add(&self.buckets[at], 1);
        }
        add(&self.nanoseconds, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        add(&self.count, 1);
    }

    /// Whether nothing was counted yet.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Each bound with how many durations were not above it.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut below = 0;
        self.bounds.iter().zip(&self.buckets).map(move |(bound, bucket)| {
            below += bucket.load(Ordering::Relaxed);
            (*bound, below)
        })
    }

    /// How many there were, and how many seconds together.
    pub(crate) fn totals(&self) -> (u64, f64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.count), load(&self.nanoseconds) as f64 / 1e9)
    }
}
