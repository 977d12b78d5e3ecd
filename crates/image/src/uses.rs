// SPDX-License-Identifier: Apache-2.0
//! When images were used last: made a container of, tagged, pulled or loaded again. Collection takes first what nobody has used for
//! the longest time.
//!
//! A `run` must not wait for this: a use is noted in memory, and written when the daemon looks after the disk's room, once a
//! minute, and when it ends. A killed daemon forgets the uses of its last minute; nothing worse than another order follows.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use metadata::{Durability, Table};
use oci::Digest;

use crate::error::ImageError;
use crate::{Images, Inner};

/// Image id → [`Timestamp`] of its last use.
const USES: Table = Table::new("image-uses");

/// Uses that are not written yet, by the images' ids.
#[derive(Default)]
pub(crate) struct Uses(Mutex<BTreeMap<Digest, Timestamp>>);

impl Uses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Timestamp>> {
        // Each change is one insertion, or one that empties it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Images {
    /// Notes that the image with this id is used at this moment. Costs no I/O.
    pub fn note_use(&self, id: Digest) {
        self.inner.note_use(id);
    }

    /// Writes the uses that were noted since the last time, as a relaxed commit. Nothing happens when there was none.
    ///
    /// # Errors
    /// The metadata cannot be read or written; then they are written the next time.
    pub fn write_uses(&self) -> Result<(), ImageError> {
        let inner = &self.inner;
        let noted = inner.uses.lock().clone();
        if noted.is_empty() {
            return Ok(());
        }
        let view = inner.view()?;
        let is_here = |id: &Digest| view.images.values().any(|record| record.id == *id);
        inner.metadata.write(Durability::Relaxed, |tx| {
            for (id, at) in noted.iter().filter(|(id, _)| is_here(id)) {
                tx.put(USES, &id.to_string(), at)?;
            }
            // What is gone needs no memory.
            for (id, _) in tx.list::<Timestamp>(USES)? {
                if id.parse().is_ok_and(|id| !is_here(&id)) {
                    tx.delete(USES, &id)?;
                }
            }
            Ok::<(), ImageError>(())
        })?;
        // Only now: whoever asks meanwhile (another collection) finds them in the one place or in the other.
        inner.uses.lock().retain(|id, at| noted.get(id) != Some(at));
        Ok(())
    }
}

impl Inner {
    pub(crate) fn note_use(&self, id: Digest) {
        self.uses.lock().insert(id, Timestamp::now());
    }

    /// When images were used last, by their ids. Of others nothing is known but when they came.
    pub(crate) fn last_uses(&self) -> Result<BTreeMap<Digest, Timestamp>, ImageError> {
        let written = self.metadata.read(|tx| tx.list::<Timestamp>(USES).map_err(ImageError::from))?;
        let written = written.into_iter().filter_map(|(id, at)| Some((id.parse().ok()?, at)));
        let mut all: BTreeMap<Digest, Timestamp> = written.collect();
        all.extend(self.uses.lock().iter().map(|(id, at)| (*id, *at)));
        Ok(all)
    }
}
