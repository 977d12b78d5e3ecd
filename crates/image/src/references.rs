// SPDX-License-Identifier: Apache-2.0
//! What keeps content here: records of images, leases (`lease.rs`), and the pins of operations under way.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci::Digest;
use tokio::sync::{Notify, oneshot};

use crate::error::ImageError;
use crate::remove::ImageUser;
use crate::{Image, Images, Inner};

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

/// How many sessions there are, for who looks after the room on the disk.
#[derive(Default)]
pub(crate) struct Sessions {
    count: AtomicUsize,
    changed: Notify,
}

impl Sessions {
    fn begin(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn end(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

impl Images {
    /// Waits until an operation that brings content begins or ends. One waiter at a time.
    pub async fn traffic(&self) {
        self.inner.sessions.changed.notified().await;
    }

    /// Whether an operation that brings content is under way.
    pub fn is_busy(&self) -> bool {
        self.inner.sessions.count.load(Ordering::Relaxed) > 0
    }
}

/// How many containers are being made of each image (by its id) that no list of containers knows yet.
#[derive(Default)]
pub(crate) struct Holds(Mutex<HashMap<Digest, usize>>);

impl Holds {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        // As the pins are.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An image that is not removed while this exists: the time until the container that is made of it can be seen.
pub struct Held {
    store: Arc<Inner>,
    id: Digest,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holds = self.store.holds.lock();
        if let Some(count) = holds.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&self.id);
            }
        }
    }
}

impl Images {
    /// As [`Images::resolve`], of an image that stays while the second value exists.
    ///
    /// # Errors
    /// Those of [`Images::resolve`].
    pub fn hold(&self, name: &str) -> Result<(Image, Held), ImageError> {
        let image = self.resolve(name)?;
        *self.inner.holds.lock().entry(image.id).or_default() += 1;
        let held = Held { store: Arc::clone(&self.inner), id: image.id };
        // It may have been removed before it was held.
        match self.inner.is_recorded(image.manifest)? {
            true => {
                self.inner.note_use(image.id);
                Ok((image, held))
            }
            false => Err(ImageError::NotFound { name: name.to_owned() }),
        }
    }
}

/// Who needs which image, unchanged until it is dropped: nobody can begin to use an image whose record is being
/// removed.
pub(crate) struct Users<'u> {
    holds: MutexGuard<'u, HashMap<Digest, usize>>,
    in_use: &'u dyn Fn(&Digest) -> Option<ImageUser>,
}

impl Users<'_> {
    /// A container that needs the image `id`.
    pub(crate) fn of(&self, id: &Digest) -> Option<ImageUser> {
        let held = || ImageUser { container: "that is being created".to_owned(), running: false };
        (self.in_use)(id).or_else(|| self.holds.contains_key(id).then(held))
    }
}

impl Inner {
    /// Who needs which image, `in_use` knowing of the containers that can be seen. To be dropped when records are
    /// removed, before files are.
    pub(crate) fn users<'u>(&'u self, in_use: &'u dyn Fn(&Digest) -> Option<ImageUser>) -> Users<'u> {
        Users { holds: self.holds.lock(), in_use }
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
        store.sessions.begin();
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
        self.store.sessions.end();
        // Whoever started it may be gone; then nobody is left to tell but the log.
        if let Some(ended) = self.ended.take()
            && let Err(Err(error)) = ended.send(swept)
        {
            tracing::warn!(error = errors::chain(&error), "content of an abandoned operation could not be removed");
        }
    }
}
