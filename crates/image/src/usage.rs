// SPDX-License-Identifier: Apache-2.0
//! What images take on disk, in bytes that the disk really gave: of blobs and unpacked layers, each counted once however
//! many images share it.

use std::collections::{BTreeMap, BTreeSet};

use errors::{Classify as _, Kind};
use jiff::Timestamp;
use oci::Digest;

use crate::error::ImageError;
use crate::records::ImageRecord;
use crate::{Image, Images, Inner};

/// What all images take on disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Each image.
    pub images: Vec<ImageUsage>,
    /// Bytes of blobs: manifests, configurations, layers as they came.
    pub content: u64,
    /// How many blobs there are.
    pub blobs: usize,
    /// Bytes of unpacked layers.
    pub layers: u64,
    /// How many unpacked layers there are.
    pub layer_count: usize,
    /// Bytes that no image needs: of operations under way, or left by a crash until the next start.
    pub unreferenced: u64,
    /// Bytes that removing all images that `in_use` does not know, and no lease protects, would give back.
    pub reclaimable: u64,
}

/// What one image takes on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageUsage {
    /// The image.
    pub image: Image,
    /// Bytes of everything it is made of.
    pub total: u64,
    /// Bytes of that which another image needs as well.
    pub shared: u64,
    /// Whether a container needs it.
    pub in_use: bool,
}

/// What of an image stands in the content store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Bytes of its manifest, its configuration, and its layers as they came.
    pub bytes: u64,
    /// Whether all of it is there.
    pub whole: bool,
}

/// A blob or an unpacked layer. One digest may be both: an uncompressed layer's blob has its diff ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    Blob(Digest),
    Layer(Digest),
}

impl ImageRecord {
    /// Everything it is made of, each once.
    pub(crate) fn items(&self) -> BTreeSet<Item> {
        let documents = [self.manifest, self.id].map(Item::Blob);
        let layers = self.layers.iter().flat_map(|layer| [Item::Blob(layer.blob), Item::Layer(layer.diff_id)]);
        documents.into_iter().chain(layers).collect()
    }
}

impl Images {
    /// What of an image stands in the content store; nothing of one that has been removed meanwhile.
    ///
    /// # Errors
    /// The metadata, or a blob's size, cannot be read.
    pub fn content_of(&self, image: &Image) -> Result<Content, ImageError> {
        let Some(record) = self.inner.record_of(image.manifest)? else {
            return Ok(Content { bytes: 0, whole: false });
        };
        let blobs = record.items().into_iter().filter_map(|item| match item {
            Item::Blob(digest) => Some(self.inner.content.size(&digest)),
            Item::Layer(_) => None,
        });
        let mut content = Content { bytes: 0, whole: true };
        for size in blobs {
            match size {
                Ok(size) => content.bytes += size,
                Err(error) if error.kind() == Kind::NotFound => content.whole = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(content)
    }

    /// When an image was given the last of its names; `None` for one without any.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn named_at(&self, image: &Image) -> Result<Option<Timestamp>, ImageError> {
        let names = self.inner.view()?.names.into_iter();
        Ok(names.filter(|(_, record)| record.manifest == image.manifest).filter_map(|(_, record)| record.since).max())
    }

    /// What the images take on disk. Reads all unpacked layers' directories where these are kept as such: it may take a
    /// second. `in_use` says whether a container needs the image with an id.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn usage(&self, in_use: &dyn Fn(&Digest) -> bool) -> Result<Usage, ImageError> {
        let inner = &self.inner;
        let view = inner.view()?;
        let sizes = inner.sizes()?;
        let of = |items: &mut dyn Iterator<Item = &Item>| items.filter_map(|item| sizes.get(item)).sum::<u64>();
        let mut needed: BTreeMap<Item, usize> = BTreeMap::new();
        let mut kept = BTreeSet::new();
        for record in view.images.values() {
            let items = record.items();
            items.iter().for_each(|item| *needed.entry(*item).or_default() += 1);
            if in_use(&record.id) || view.leased.images.contains(&record.manifest) {
                kept.extend(items);
            }
        }
        let images = view.images.values().map(|record| {
            let items = record.items();
            ImageUsage {
                image: record.image(&view.names),
                total: of(&mut items.iter()),
                shared: of(&mut items.iter().filter(|item| needed.get(item).is_some_and(|count| *count > 1))),
                in_use: in_use(&record.id),
            }
        });
        let blobs = || sizes.keys().filter(|item| matches!(item, Item::Blob(_)));
        let layers = || sizes.keys().filter(|item| matches!(item, Item::Layer(_)));
        let all = of(&mut sizes.keys());
        let referenced = of(&mut needed.keys());
        Ok(Usage {
            images: images.collect(),
            content: of(&mut blobs()),
            blobs: blobs().count(),
            layers: of(&mut layers()),
            layer_count: layers().count(),
            unreferenced: all - referenced,
            reclaimable: referenced - of(&mut kept.iter()),
        })
    }
}

impl Inner {
    /// The bytes on disk of all blobs and unpacked layers.
    fn sizes(&self) -> Result<BTreeMap<Item, u64>, ImageError> {
        let mut sizes = BTreeMap::new();
        for (digest, _) in self.content.blobs()? {
            if let Some(bytes) = self.disk_usage(Item::Blob(digest))? {
                sizes.insert(Item::Blob(digest), bytes);
            }
        }
        for (diff_id, _) in self.layers.layers().map_err(|source| ImageError::Layers(Box::new(source)))? {
            if let Some(bytes) = self.disk_usage(Item::Layer(diff_id))? {
                sizes.insert(Item::Layer(diff_id), bytes);
            }
        }
        Ok(sizes)
    }

    /// Whether a blob or layer is here.
    pub(crate) fn is_here(&self, item: &Item) -> bool {
        match item {
            Item::Blob(digest) => self.content.contains(digest),
            Item::Layer(diff_id) => self.layers.contains(diff_id),
        }
    }

    /// The bytes on disk of one blob or layer; `None` when it is not here (any more).
    pub(crate) fn disk_usage(&self, item: Item) -> Result<Option<u64>, ImageError> {
        match item {
            Item::Blob(digest) => match self.content.disk_usage(&digest) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(content::ContentError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Item::Layer(diff_id) => match self.layers.disk_usage(&diff_id) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(snapshot::SnapshotError::NoLayer { .. }) => Ok(None),
                Err(source) => Err(ImageError::Layers(Box::new(source))),
            },
        }
    }
}
