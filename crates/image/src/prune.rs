// SPDX-License-Identifier: Apache-2.0
//! Removal of images that nobody uses.

use std::collections::BTreeSet;

use metadata::Durability;
use oci::{Digest, ImageRef};

use crate::error::ImageError;
use crate::filter::Filters;
use crate::records::{NAMES, forget_image};
use crate::remove::{ImageUser, Removed};
use crate::usage::Item;
use crate::{Image, Images, embedded};

/// What a pruning did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names and images that are gone.
    pub removed: Vec<Removed>,
    /// Bytes that the disk got back: what other images need is not among them.
    pub reclaimed: u64,
}

impl Images {
    /// Removes the images that `filters` let through (`before` and `since` are not looked at) and no container needs:
    /// those without a name, or with `filters.dangling` set to false, those with names, too. Those under a lease stay.
    /// `in_use` says which container needs the image with an id.
    ///
    /// # Errors
    /// The metadata cannot be read or written; something cannot be removed, then what was removed before stays removed.
    pub fn prune(
        &self,
        filters: &Filters,
        in_use: &dyn Fn(&Digest) -> Option<ImageUser>,
    ) -> Result<Pruned, ImageError> {
        let inner = &self.inner;
        let pins = inner.references.lock();
        let only_nameless = filters.dangling != Some(false);
        // To look up an image by name may make the embedded one, which needs the lock that is held here.
        let filters = Filters { dangling: only_nameless.then_some(true), before: None, since: None, ..filters.clone() };
        let selected = self.select(&filters)?;
        let users = inner.users(in_use);
        let view = inner.view()?;
        let is_kept = |image: &Image| view.leased.images.contains(&image.manifest) || users.of(&image.id).is_some();
        let gone: Vec<Image> = selected.into_iter().filter(|image| !is_kept(image)).collect();
        if gone.is_empty() {
            return Ok(Pruned::default());
        }
        let manifests: BTreeSet<Digest> = gone.iter().map(|image| image.manifest).collect();
        let names: Vec<&ImageRef> = view
            .names
            .iter()
            .filter(|(_, record)| manifests.contains(&record.manifest))
            .map(|(name, _)| name)
            .collect();
        let (going, staying): (Vec<_>, Vec<_>) =
            view.images.values().partition(|record| manifests.contains(&record.manifest));
        let needed: BTreeSet<Item> = staying.iter().flat_map(|record| record.items()).collect();
        let items: BTreeSet<Item> = going.iter().flat_map(|record| record.items()).collect();
        let mut sizes = Vec::new();
        for item in items.difference(&needed) {
            sizes.push((*item, inner.disk_usage(*item)?.unwrap_or(0)));
        }
        inner.metadata.write(Durability::Synced, |tx| {
            for name in &names {
                tx.delete(NAMES, &name.canonical())?;
            }
            for manifest in &manifests {
                forget_image(tx, manifest)?;
                embedded::forget(tx, *manifest)?;
            }
            Ok::<(), ImageError>(())
        })?;
        drop(users);
        let untagged = view.names.iter().filter_map(|(_, record)| view.images.get(&record.manifest));
        let untagged = untagged.filter(|record| manifests.contains(&record.manifest));
        inner.removed(untagged, going.iter().copied());
        inner.index_and_sweep(&pins, going.iter().flat_map(|record| record.content()).collect())?;
        // What an operation under way has pinned is still here.
        let reclaimed = sizes.iter().filter(|(item, _)| !inner.is_here(item)).map(|(_, bytes)| bytes).sum();
        let ids: BTreeSet<Digest> = gone.iter().map(|image| image.id).collect();
        let untagged = names.into_iter().cloned().map(Removed::Untagged);
        Ok(Pruned { removed: untagged.chain(ids.into_iter().map(Removed::Deleted)).collect(), reclaimed })
    }
}
