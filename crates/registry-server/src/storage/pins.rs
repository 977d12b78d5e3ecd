// SPDX-License-Identifier: Apache-2.0
//! Blobs that collection must leave alone: those that somebody is about to name.
//!
//! Whoever gives a blob a name pins it first, then looks whether it is there, then writes the name. Collection removes a
//! blob only if it was not pinned since before collection looked for names. So either the pin comes first, and the blob
//! stays; or the removal does, and the blob is found missing.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use oci::Digest;

use super::held;

/// All pins.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: HashMap<Digest, usize>,
    /// While there is a collection: what was pinned at any time since it began.
    since: Option<HashSet<Digest>>,
}

/// A pinned blob; free again when it is dropped.
#[derive(Debug)]
#[must_use = "the pin holds as long as this value lives"]
pub(crate) struct Pin<'a> {
    pins: &'a Pins,
    digest: Digest,
}

/// A collection under way; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Collecting<'a>(&'a Pins);

impl Pins {
    /// Keeps `digest` from collection.
    pub(crate) fn pin(&self, digest: Digest) -> Pin<'_> {
        let mut state = held(&self.0);
        *state.held.entry(digest).or_default() += 1;
        if let Some(since) = &mut state.since {
            since.insert(digest);
        }
        Pin { pins: self, digest }
    }

    /// Begins a collection: to be called before names are looked for.
    pub(crate) fn collect(&self) -> Collecting<'_> {
        let mut state = held(&self.0);
        state.since = Some(state.held.keys().copied().collect());
        Collecting(self)
    }
}

impl Collecting<'_> {
    /// Calls `remove` unless the blob was pinned since the collection began; nobody can pin it meanwhile.
    pub(crate) fn unless_pinned<T>(&self, digest: &Digest, remove: impl FnOnce() -> T) -> Option<T> {
        let state = held(&self.0.0);
        let pinned = state.since.as_ref().is_some_and(|since| since.contains(digest));
        (!pinned).then(remove)
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut state = held(&self.pins.0);
        if let Some(count) = state.held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.digest);
            }
        }
    }
}

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        held(&self.0.0).since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pinned_before_or_during_a_collection_stays() {
        let pins = Pins::default();
        let [before, during, never, long_ago] = [b"1", b"2", b"3", b"4"].map(Digest::of);
        drop(pins.pin(long_ago));
        let held_over = pins.pin(before);
        let collecting = pins.collect();
        drop(held_over);
        drop(pins.pin(during));
        assert_eq!(collecting.unless_pinned(&before, || ()), None);
        assert_eq!(collecting.unless_pinned(&during, || ()), None);
        assert_eq!(collecting.unless_pinned(&never, || ()), Some(()));
        assert_eq!(collecting.unless_pinned(&long_ago, || ()), Some(()));
        drop(collecting);
        assert_eq!(pins.collect().unless_pinned(&during, || ()), Some(()));
    }
}
