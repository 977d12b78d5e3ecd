// SPDX-License-Identifier: Apache-2.0
//! One lock per digest: two pulls of the same layer share the work of the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use oci::Digest;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// The locks in use. Those that nobody holds or waits for are forgotten.
#[derive(Default)]
pub(crate) struct Locks(Mutex<HashMap<Digest, Weak<AsyncMutex<()>>>>);

impl Locks {
    /// Waits until nobody else holds `digest`.
    pub(crate) async fn lock(&self, digest: Digest) -> OwnedMutexGuard<()> {
        self.of(digest).lock_owned().await
    }

    fn of(&self, digest: Digest) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&digest).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(digest, Arc::downgrade(&lock));
        lock
    }
}
