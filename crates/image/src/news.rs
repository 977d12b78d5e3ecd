// SPDX-License-Identifier: Apache-2.0
//! What happens to images, told to whoever listens: the engine, for its events.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use oci::image_spec::ImageConfiguration;
use oci::{Digest, ImageRef};

use crate::records::ImageRecord;
use crate::{Image, Images, Inner};

/// What happened to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It came from a registry, by this name.
    Pulled(ImageRef),
    /// A registry has it, by this name.
    Pushed(ImageRef),
    /// It has this further name.
    Tagged(ImageRef),
    /// It has a name less.
    Untagged,
    /// It is gone.
    Deleted,
    /// It was made of a root file system.
    Imported,
    /// It came out of an archive of images.
    Loaded,
    /// It is about to be written into one.
    Saved,
}

/// That something happened to an image, and to which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What happened.
    pub deed: Deed,
    /// The image's id.
    pub id: Digest,
    /// The labels of its configuration.
    pub labels: BTreeMap<String, String>,
}

/// Who is told. It may be called under the lock of names and records, so it must neither wait nor ask for images.
pub type Listener = dyn Fn(News) + Send + Sync;

/// Who listens, if somebody does.
#[derive(Default)]
pub(crate) struct Listeners(OnceLock<Box<Listener>>);

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("heard", &self.0.get().is_some()).finish()
    }
}

impl Images {
    /// Has `listener` told of everything that happens to images from now on, after it has happened. Only the first one
    /// counts.
    pub fn tell(&self, listener: Box<Listener>) {
        // A second one would be a mistake of the caller's without a consequence.
        let _ = self.inner.listeners.0.set(listener);
    }
}

impl Inner {
    /// Tells that something has happened to an image with this configuration.
    pub(crate) fn happened(&self, deed: Deed, id: Digest, config: &ImageConfiguration) {
        let Some(listener) = self.listeners.0.get() else { return };
        let labels = config.config().as_ref().and_then(|config| config.labels().as_ref());
        let labels = labels.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
        listener(News { deed, id, labels });
    }

    /// The same of an image at hand.
    pub(crate) fn happened_to(&self, image: &Image, deed: Deed) {
        self.happened(deed, image.id, &image.config);
    }

    /// Tells of a removal: of each name that is gone, with the record of what it meant, and of each image.
    pub(crate) fn removed<'r>(
        &self,
        untagged: impl Iterator<Item = &'r ImageRecord>,
        deleted: impl Iterator<Item = &'r ImageRecord>,
    ) {
        for record in untagged {
            self.happened(Deed::Untagged, record.id, &record.config);
        }
        // Two manifests may have one image.
        let deleted: BTreeMap<Digest, &ImageRecord> = deleted.map(|record| (record.id, record)).collect();
        for (id, record) in deleted {
            self.happened(Deed::Deleted, id, &record.config);
        }
    }
}
