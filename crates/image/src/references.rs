// SPDX-License-Identifier: Apache-2.0
//! What keeps content here: records of images, and the pins of operations under way.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci::Digest;
use tokio::sync::oneshot;

use crate::Inner;
use crate::error::ImageError;

/// How many operations need each blob (by its digest) and each layer (by its diff ID).
#[derive(Default)]
pub(crate) struct Pins(HashMap<Digest, usize>);

impl Pins {
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }
}

/// The lock under which names, records and pins change and content is removed. Held while files are deleted: not to be
/// waited for on a thread of the async runtime.
#[derive(Default)]
pub(crate) struct References(Mutex<Pins>);

impl References {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Pins> {
        // Pins are counted up and down in single steps: a panic elsewhere leaves them right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An operation that brings content. What it pins is not removed before it ends; what has no record then, is.
///
/// Its threads share it. It ends when the last of them lets go, also when the caller has lost interest half-way.
pub(crate) struct Session {
    store: Arc<Inner>,
    pinned: Mutex<BTreeSet<Digest>>,
    ended: Option<oneshot::Sender<Result<(), ImageError>>>,
}

impl Session {
    /// A session, and how to hear of its end.
    pub(crate) fn begin(store: &Arc<Inner>) -> (Session, oneshot::Receiver<Result<(), ImageError>>) {
        let (ended, end) = oneshot::channel();
        (Session { store: Arc::clone(store), pinned: Mutex::default(), ended: Some(ended) }, end)
    }

    /// Keeps `digest` here, as a blob and as a layer, from now on. May wait for a removal under way.
    pub(crate) fn pin(&self, digest: Digest) {
        let mut pins = self.store.references.lock();
        if self.pinned.lock().unwrap_or_else(PoisonError::into_inner).insert(digest) {
            *pins.0.entry(digest).or_default() += 1;
        }
    }

    pub(crate) fn store(&self) -> &Inner {
        &self.store
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let pinned = std::mem::take(self.pinned.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut pins = self.store.references.lock();
        for digest in &pinned {
            if let Some(count) = pins.0.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    pins.0.remove(digest);
                }
            }
        }
        let swept = self.store.sweep(&pins, pinned);
        drop(pins);
        // Whoever started it may be gone; then nobody is left to tell but the log.
        if let Some(ended) = self.ended.take()
            && let Err(Err(error)) = ended.send(swept)
        {
            tracing::warn!(error = errors::chain(&error), "content of an abandoned operation could not be removed");
        }
    }
}
