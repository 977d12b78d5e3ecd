// SPDX-License-Identifier: Apache-2.0
//! Manifests and indexes as they are copied: byte for byte, with those of their fields that decide something.

use bytes::Bytes;
use oci::document::{Descriptor, Index, Manifest};
use oci::manifest::type_of;
use oci::media_type::is_index;
use oci::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::error::TransferError;

/// The longest manifest or index: what registries must take (distribution-spec, "Pushing Manifests").
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// The longest configuration.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// The most layers that anything stacks.
const MAX_LAYERS: usize = 4096;
/// The most images that one index lists.
const MAX_ENTRIES: usize = 1024;

/// A manifest or an index, and what it is.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) text: Bytes,
}

impl Document {
    /// The document `text` of `place`, of which `declared` is said what it is.
    pub(crate) fn read(place: &str, text: impl Into<Bytes>, declared: Option<&str>) -> Result<Document, TransferError> {
        let text = text.into();
        let media_type =
            type_of(&text, declared).map_err(|source| TransferError::Type { place: place.to_owned(), source })?;
        Ok(Document { media_type, digest: Digest::of(&text), text })
    }

    pub(crate) fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    /// What refers to it.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest, self.text.len() as u64)
    }

    /// It, as an image's manifest.
    pub(crate) fn manifest(&self, place: &str) -> Result<Manifest, TransferError> {
        let manifest: Manifest = parse(place, "manifest", &self.text)?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(inconsistent(place, "its manifest lists more layers than an image can have"));
        }
        if manifest.config.size > MAX_CONFIG {
            return Err(inconsistent(place, "its configuration is larger than a configuration can be"));
        }
        Ok(manifest)
    }

    /// The manifests that it lists, as an index.
    pub(crate) fn entries(&self, place: &str) -> Result<Vec<Descriptor>, TransferError> {
        let index: Index = parse(place, "index", &self.text)?;
        if index.manifests.len() > MAX_ENTRIES {
            return Err(inconsistent(place, "its index lists more images than one can have"));
        }
        Ok(index.manifests)
    }

    /// It must be what `entry` says.
    pub(crate) fn checked(mut self, place: &str, entry: &Descriptor) -> Result<Document, TransferError> {
        let (place, what) = (place.to_owned(), "manifest");
        if self.digest.algorithm() != entry.digest.algorithm() {
            self.digest = entry.digest.algorithm().digest(&self.text);
        }
        if let Err(mismatch) = entry.digest.matches(self.digest) {
            return Err(TransferError::Digest { place, what, mismatch });
        }
        let found = self.text.len() as u64;
        if found != entry.size {
            let digest = Box::new(entry.digest);
            return Err(TransferError::Size { place, what, digest, expected: entry.size, found });
        }
        Ok(self)
    }
}

/// The one of an index's entries that is for `wanted`.
pub(crate) fn choose(place: &str, entries: &[Descriptor], wanted: &Platform) -> Result<Descriptor, TransferError> {
    oci::document::choose(entries, wanted).cloned().map_err(|other| TransferError::Platform {
        place: place.to_owned(),
        wanted: Box::new(wanted.clone()),
        available: other.available,
    })
}

pub(crate) fn parse<T: for<'de> Deserialize<'de>>(
    place: &str,
    document: &'static str,
    text: &[u8],
) -> Result<T, TransferError> {
    serde_json::from_slice(text).map_err(|source| TransferError::Document { place: place.to_owned(), document, source })
}

/// The JSON of what is made here.
pub(crate) fn encode(place: &str, document: &'static str, value: &impl Serialize) -> Result<Vec<u8>, TransferError> {
    serde_json::to_vec(value).map_err(|source| TransferError::Document { place: place.to_owned(), document, source })
}

pub(crate) fn inconsistent(place: &str, why: &'static str) -> TransferError {
    TransferError::Inconsistent { place: place.to_owned(), why }
}
