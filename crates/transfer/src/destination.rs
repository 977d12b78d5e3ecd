// SPDX-License-Identifier: Apache-2.0
//! A place that an image is written to.

use std::sync::Arc;

use oci::ImageRef;
use oci::document::Descriptor;
use oci::media_type::Format;

use crate::blob::Verified;
use crate::document::Document;
use crate::error::TransferError;

/// What a blob is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Config,
    Layer,
}

/// How layers are to be where they come uncompressed or may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layers {
    /// As they are.
    AsTheyAre,
    /// Compressed, unless a digest is known of them uncompressed.
    Compressed,
    /// Uncompressed, always.
    Plain,
}

/// A place that an image is written to. All methods block, and may be called from several threads. A blob comes before
/// the manifest that names it, the manifests of an index before the index. Dropped without [`Destination::finish`],
/// nothing may be left that somebody could take for an image.
pub(crate) trait Destination: Send + Sync {
    /// The only format that manifests can have here.
    fn format(&self) -> Option<Format> {
        None
    }

    fn layers(&self) -> Layers {
        Layers::AsTheyAre
    }

    /// Whether an index has room here.
    fn holds_indexes(&self) -> bool {
        true
    }

    /// Blobs that may be given at the same time. An archive is to be the same when it is made again, so it gets one after
    /// another.
    fn parallel(&self) -> usize {
        1
    }

    /// Whether the blob is here.
    fn has_blob(&self, blob: &Descriptor) -> Result<bool, TransferError>;

    /// Takes the blob from another repository. `false` when that cannot be.
    fn mount(&self, _blob: &Descriptor, _from: &ImageRef) -> Result<bool, TransferError> {
        Ok(false)
    }

    /// Takes a blob.
    fn put_blob(&self, role: Role, blob: &Descriptor, content: &Arc<Verified>) -> Result<(), TransferError>;

    /// Whether this document may become the one that the place's name means.
    fn accepts(&self, _top: &Document) -> Result<(), TransferError> {
        Ok(())
    }

    /// Takes a manifest or an index; `is_top` for the one that the place's name shall mean, which comes last.
    fn put_manifest(&self, document: &Document, is_top: bool) -> Result<(), TransferError>;

    /// Makes it seen.
    fn finish(self: Box<Self>) -> Result<(), TransferError>;
}
