// SPDX-License-Identifier: Apache-2.0
//! A place that an image is read from.

use oci::ImageRef;
use oci::document::Descriptor;

use crate::blob::Reader;
use crate::document::Document;
use crate::error::TransferError;

/// A place that an image is read from. All methods block, and may be called from several threads.
pub(crate) trait Source: Send + Sync {
    /// The manifest or the index that the place's name means.
    fn top(&self) -> Result<Document, TransferError>;

    /// A manifest or an index that an index lists. The caller compares it with `entry`.
    fn manifest(&self, entry: &Descriptor) -> Result<Document, TransferError>;

    /// A blob that a manifest names. What it really is, the caller finds out.
    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Reader>, TransferError>;

    /// Whether the manifest was made up while reading: then there is no digest to be kept.
    fn is_made_up(&self) -> bool {
        false
    }

    /// The repository it is, where it is one: a registry takes blobs from its other repositories without moving them.
    fn repository(&self) -> Option<&ImageRef> {
        None
    }
}
