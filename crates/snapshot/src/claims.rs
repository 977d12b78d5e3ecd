// SPDX-License-Identifier: Apache-2.0
//! Which layers somebody is working on: one at a time for each.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use oci::Digest;

/// The layers that are being changed.
#[derive(Default)]
pub(crate) struct Claims {
    taken: Mutex<HashSet<Digest>>,
    released: Condvar,
}

/// The right to change one layer.
pub(crate) struct Claim<'c> {
    claims: &'c Claims,
    diff_id: Digest,
}

impl Claims {
    /// Waits until nobody else has the layer.
    pub(crate) fn claim(&self, diff_id: &Digest) -> Claim<'_> {
        let mut taken = self.lock();
        while !taken.insert(*diff_id) {
            taken = self.released.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Claim { claims: self, diff_id: *diff_id }
    }

    /// A set of digests is whole whatever panicked while it was locked.
    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.diff_id);
        self.claims.released.notify_all();
    }
}
