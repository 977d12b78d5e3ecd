// SPDX-License-Identifier: Apache-2.0
//! Making room when the disk gets full. What may go is looked up, `policy.rs` says which of it goes, and each is removed
//! by itself, looked at once more: what has been given a name, a container or a lease meanwhile stays.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use content::Interrupted;
use jiff::{SignedDuration, Timestamp};
use metadata::Durability;
use oci::Digest;

use crate::collect::policy::{self, Candidate, Rank};
use crate::error::ImageError;
use crate::records::{ImageRecord, View, forget_image};
use crate::remove::ImageUser;
use crate::usage::Item;
use crate::{Images, Inner, embedded};

/// How long an image that has never had a name is left alone: whoever loads, imports or commits one without a name has
/// its id, and wants to do something with it.
const GRACE: SignedDuration = SignedDuration::from_hours(1);

/// Something that was removed to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The beginning of a blob, left by an interrupted pull.
    Interrupted,
    /// A blob, or an unpacked layer by its diff ID, that nothing referred to.
    Unreferenced(Digest),
    /// The image with this id, which had no name.
    Image(Digest),
}

/// One removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// What is gone.
    pub what: Gone,
    /// Bytes that the disk got back.
    pub bytes: u64,
}

/// What may go.
enum Target {
    Interrupted(Interrupted),
    Content(Digest),
    Image(Box<ImageRecord>),
}

/// What takes room: an item of the store, or the partial blob with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Item(Item),
    Interrupted(usize),
}

impl Images {
    /// Removes what nobody needs until `free` gives `goal` bytes, or nothing is left that may go: interrupted downloads, then
    /// content without references, then images without a name, those first that nobody has used for the longest time. Images with a name, those
    /// that came less than an hour ago and never had one, those that `in_use` (asked by image id) knows a container of, and what a lease or an operation under way needs all
    /// stay. Each removal is `told` at once; the sum of bytes is returned.
    ///
    /// # Errors
    /// Something cannot be read; then nothing is removed. Something cannot be removed: the first error, after all that
    /// can go has gone.
    pub fn make_room(
        &self,
        goal: u64,
        free: &dyn Fn() -> io::Result<u64>,
        in_use: &dyn Fn(&Digest) -> Option<ImageUser>,
        told: &mut dyn FnMut(Collected),
    ) -> Result<u64, ImageError> {
        let inner = &self.inner;
        let room = || free().map_err(ImageError::FreeSpace);
        let _one = inner.room.collecting();
        let missing = goal.saturating_sub(room()?);
        if missing == 0 {
            return Ok(0);
        }
        let (mut freed, mut result) = (0_u64, Ok(()));
        let plan = policy::plan(missing, inner.candidates(in_use)?);
        if plan.is_empty() {
            return Ok(0);
        }
        tracing::debug!(missing, candidates = plan.len(), "making room");
        for Candidate { what, .. } in plan {
            // Others make room, too. A file system may be slow to give back what was removed: what is known to be freed
            // counts.
            if freed >= missing || room()? >= goal {
                break;
            }
            match inner.remove_candidate(what, in_use) {
                Ok(None) => {}
                Ok(Some(collected)) => {
                    freed = freed.saturating_add(collected.bytes);
                    inner.room.note();
                    told(collected);
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        tracing::debug!(freed, "made room");
        result.map(|()| freed)
    }
}

impl Inner {
    /// All that may go, at this moment.
    fn candidates(
        &self,
        in_use: &dyn Fn(&Digest) -> Option<ImageUser>,
    ) -> Result<Vec<Candidate<Target, Part>>, ImageError> {
        let mut candidates = Vec::new();
        for (number, blob) in self.content.interrupted()?.into_iter().enumerate() {
            let (since, parts) =
                (blob.written_at.saturating_mul(1_000_000), vec![(Part::Interrupted(number), blob.bytes)]);
            candidates.push(Candidate { what: Target::Interrupted(blob), rank: Rank::Interrupted, since, parts });
        }
        // Held while files are looked at, not while they are removed.
        let pins = self.references.lock();
        self.forget_ended_leases()?;
        let view = self.view()?;
        let (dangling, staying): (Vec<&ImageRecord>, Vec<&ImageRecord>) = {
            let users = self.users(in_use);
            view.images.values().partition(|record| is_dangling(&view, record) && users.of(&record.id).is_none())
        };
        let needed: BTreeSet<Item> = staying.iter().flat_map(|record| record.items()).collect();
        let is_kept = |item: &Item| {
            let (Item::Blob(digest) | Item::Layer(digest)) = item;
            needed.contains(item) || view.leased.content.contains(digest) || pins.contains(digest)
        };
        let referred: BTreeSet<Digest> = view.images.values().flat_map(|record| record.content()).collect();
        let mut loose: BTreeSet<Digest> = self.content.blobs()?.into_iter().map(|(digest, _)| digest).collect();
        let layers = self.layers.layers().map_err(|source| ImageError::Layers(Box::new(source)))?;
        loose.extend(layers.into_iter().map(|(diff_id, _)| diff_id));
        for digest in loose.difference(&referred) {
            let parts = self.parts([Item::Blob(*digest), Item::Layer(*digest)].iter().filter(|item| !is_kept(item)))?;
            if !parts.is_empty() {
                let what = Target::Content(*digest);
                candidates.push(Candidate { what, rank: Rank::Unreferenced, since: 0, parts });
            }
        }
        let uses = self.last_uses()?;
        for record in dangling {
            let parts = self.parts(record.items().iter().filter(|item| !is_kept(item)))?;
            let since = record.stored.max(uses.get(&record.id).copied()).map_or(0, Timestamp::as_microsecond);
            candidates.push(Candidate {
                what: Target::Image(Box::new(record.clone())),
                rank: Rank::Dangling,
                since,
                parts,
            });
        }
        Ok(candidates)
    }

    /// Those of the items that are here, with their bytes on disk.
    fn parts<'i>(&self, items: impl Iterator<Item = &'i Item>) -> Result<Vec<(Part, u64)>, ImageError> {
        let mut parts = Vec::new();
        for item in items {
            parts.extend(self.disk_usage(*item)?.map(|bytes| (Part::Item(*item), bytes)));
        }
        Ok(parts)
    }

    /// Removes it, unless something needs it by now.
    fn remove_candidate(
        &self,
        target: Target,
        in_use: &dyn Fn(&Digest) -> Option<ImageUser>,
    ) -> Result<Option<Collected>, ImageError> {
        let (what, content) = match &target {
            Target::Interrupted(blob) => {
                let removed = self.content.remove_interrupted(blob)?;
                return Ok(removed.then_some(Collected { what: Gone::Interrupted, bytes: blob.bytes }));
            }
            Target::Content(digest) => (Gone::Unreferenced(*digest), BTreeSet::from([*digest])),
            Target::Image(record) => (Gone::Image(record.id), record.content().collect::<BTreeSet<Digest>>()),
        };
        let pins = self.references.lock();
        if let Target::Image(record) = &target
            && !self.forget_dangling(record, in_use)?
        {
            return Ok(None);
        }
        let items = content.iter().flat_map(|digest| [Item::Blob(*digest), Item::Layer(*digest)]);
        let mut before = BTreeMap::new();
        for item in items {
            before.extend(self.disk_usage(item)?.map(|bytes| (item, bytes)));
        }
        self.sweep(&pins, content)?;
        let gone = before.iter().filter(|(item, _)| !self.is_here(item)).map(|(_, bytes)| *bytes);
        let (count, bytes) = gone.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        // Content may be needed by now; an image's record is gone in any case.
        Ok((count > 0 || matches!(what, Gone::Image(_))).then_some(Collected { what, bytes }))
    }

    /// Removes the record of an image, if still nothing needs it. The caller holds the lock of references.
    fn forget_dangling(
        &self,
        record: &ImageRecord,
        in_use: &dyn Fn(&Digest) -> Option<ImageUser>,
    ) -> Result<bool, ImageError> {
        let users = self.users(in_use);
        let view = self.view()?;
        if !view.images.contains_key(&record.manifest) || !is_dangling(&view, record) || users.of(&record.id).is_some()
        {
            return Ok(false);
        }
        self.metadata.write(Durability::Synced, |tx| {
            forget_image(tx, &record.manifest)?;
            embedded::forget(tx, record.manifest)
        })?;
        self.removed(std::iter::empty(), std::iter::once(record));
        Ok(true)
    }
}

/// Whether neither a name nor a lease keeps the image, and none is to be expected.
fn is_dangling(view: &View, record: &ImageRecord) -> bool {
    !awaits_name(record, Timestamp::now())
        && !view.names.iter().any(|(_, named)| named.manifest == record.manifest)
        && !view.leased.images.contains(&record.manifest)
}

fn awaits_name(record: &ImageRecord, now: Timestamp) -> bool {
    !record.was_named && record.stored.is_some_and(|stored| now.duration_since(stored) < GRACE)
}

#[cfg(test)]
mod tests {
    use oci::document::Descriptor;
    use oci::image_spec::ImageConfiguration;

    use super::*;

    #[test]
    fn only_what_is_young_and_never_had_a_name_may_get_one() {
        let digest = Digest::of("x");
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let awaits = |was_named, stored: Option<&str>| {
            let stored = stored.map(|text| text.parse().unwrap());
            let record =
                ImageRecord::new(Descriptor::new("", digest, 0), digest, ImageConfiguration::default(), Vec::new());
            let record = ImageRecord { stored, was_named, ..record };
            awaits_name(&record, now)
        };
        assert!(awaits(false, Some("2026-01-01T11:30:00Z")));
        assert!(!awaits(true, Some("2026-01-01T11:30:00Z")));
        assert!(!awaits(false, Some("2026-01-01T10:59:00Z")));
        assert!(!awaits(false, None));
    }
}
