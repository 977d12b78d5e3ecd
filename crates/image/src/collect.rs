// SPDX-License-Identifier: Apache-2.0
//! Removal of content that nothing needs any more.

mod automatic;
mod policy;

use std::collections::BTreeSet;

use metadata::Durability;
use oci::Digest;

pub use automatic::{Collected, Gone};
pub use policy::{Marks, Threshold};

use crate::error::ImageError;
use crate::records::{ImageRecord, forget_image};
use crate::references::Pins;
use crate::remove::ImageUser;
use crate::{Images, Inner};

impl Images {
    /// Removes what no image and no operation under way needs: what a crash left of a pull, and the embedded images of
    /// earlier versions of this program that `in_use` (asked by image id) knows no container of. For the daemon's
    /// start.
    ///
    /// # Errors
    /// Something cannot be read or removed; what was removed before stays removed.
    pub fn collect(&self, in_use: &dyn Fn(&Digest) -> Option<ImageUser>) -> Result<(), ImageError> {
        let inner = &self.inner;
        let pins = inner.references.lock();
        inner.forget_ended_leases()?;
        let users = inner.users(in_use);
        let view = inner.view()?;
        let is_named = |manifest: &Digest| view.names.iter().any(|(_, record)| record.manifest == *manifest);
        let is_kept =
            |record: &ImageRecord| view.leased.images.contains(&record.manifest) || users.of(&record.id).is_some();
        let old = view.images.values();
        let old = old.filter(|record| record.embedded && !is_named(&record.manifest) && !is_kept(record));
        let old: Vec<Digest> = old.map(|record| record.manifest).collect();
        if !old.is_empty() {
            inner.metadata.write(Durability::Synced, |tx| {
                for manifest in &old {
                    forget_image(tx, manifest)?;
                }
                Ok::<(), ImageError>(())
            })?;
        }
        drop(users);
        let mut all: BTreeSet<Digest> = inner.content.blobs()?.into_iter().map(|(digest, _)| digest).collect();
        let layers = inner.layers.layers().map_err(|source| ImageError::Layers(Box::new(source)))?;
        all.extend(layers.into_iter().map(|(diff_id, _)| diff_id));
        inner.sweep(&pins, all)
    }
}

impl Inner {
    /// Brings `index.json` up to date after names have gone, and removes those of `candidates` that nothing needs. On a full
    /// disk the index can only be written when these have made room for it.
    pub(crate) fn index_and_sweep(&self, pins: &Pins, candidates: BTreeSet<Digest>) -> Result<(), ImageError> {
        let indexed = self.write_index(pins);
        let swept = self.sweep(pins, candidates);
        indexed.or_else(|_| self.write_index(pins)).and(swept)
    }

    /// Removes those of `candidates` that no image, no lease and no pin needs, as blobs and as layers. The caller holds the lock
    /// of `pins`. Goes on after an error, and returns the first one.
    pub(crate) fn sweep(&self, pins: &Pins, candidates: BTreeSet<Digest>) -> Result<(), ImageError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let view = self.view()?;
        let needed: BTreeSet<Digest> = view.images.values().flat_map(|record| record.content()).collect();
        let mut result = Ok(());
        let is_free = |digest: &&Digest| {
            !needed.contains(digest) && !view.leased.content.contains(digest) && !pins.contains(digest)
        };
        for digest in candidates.iter().filter(is_free) {
            let removed = self.remove_content(digest);
            if result.is_ok() {
                result = removed;
            }
        }
        result
    }

    fn remove_content(&self, digest: &Digest) -> Result<(), ImageError> {
        self.content.remove(digest)?;
        if self.layers.contains(digest) {
            self.layers
                .remove_layer(digest)
                .map_err(|source| ImageError::RemoveLayer { layer: *digest, source: Box::new(source) })?;
        }
        Ok(())
    }
}
