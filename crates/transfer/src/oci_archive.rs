// SPDX-License-Identifier: Apache-2.0
//! `oci-archive:`: an OCI image layout packed as a tar archive.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use oci::document::Descriptor;
use oci::media_type::Format;

use crate::blob::{Reader, Verified};
use crate::destination::{Destination, Layers, Role};
use crate::document::{Document, MAX_MANIFEST};
use crate::error::TransferError;
use crate::layout::{self, INDEX, LAYOUT};
use crate::oci_layout::{missing, sized};
use crate::packed::{Packed, Packing};
use crate::source::Source;

/// An archive to be read.
pub(crate) struct OciArchiveSource {
    place: String,
    packed: Packed,
    reference: Option<String>,
}

impl OciArchiveSource {
    pub(crate) fn open(place: &str, path: &Path, reference: Option<&str>) -> Result<OciArchiveSource, TransferError> {
        let packed = Packed::open(path)?;
        layout::check(place, packed.document(place, LAYOUT, LAYOUT, MAX_MANIFEST)?.as_deref())?;
        Ok(OciArchiveSource { place: place.to_owned(), packed, reference: reference.map(str::to_owned) })
    }
}

impl Source for OciArchiveSource {
    fn top(&self) -> Result<Document, TransferError> {
        let index = self.packed.document(&self.place, INDEX, INDEX, MAX_MANIFEST)?;
        let index = index.ok_or_else(|| missing(&self.place, "document", INDEX))?;
        let entry = layout::find(&self.place, &index, self.reference.as_deref())?;
        self.manifest(&entry)?.checked(&self.place, &entry)
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Document, TransferError> {
        let text = self.packed.document(&self.place, &layout::blob(&entry.digest), "manifest", MAX_MANIFEST)?;
        let text = text.ok_or_else(|| missing(&self.place, "manifest", &entry.digest.to_string()))?;
        Document::read(&self.place, text, Some(&entry.media_type))
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Reader>, TransferError> {
        let stretch = self.packed.stretch(&layout::blob(&blob.digest));
        let stretch = stretch.ok_or_else(|| missing(&self.place, "blob", &blob.digest.to_string()))?;
        sized(&self.place, blob, stretch.size)?;
        Ok(Box::new(stretch))
    }
}

/// An archive to be written: a new one, in the place of one that may be there.
pub(crate) struct OciArchiveDestination {
    place: String,
    reference: Option<String>,
    packing: Mutex<Packing>,
}

impl OciArchiveDestination {
    pub(crate) fn create(
        place: &str,
        path: &Path,
        reference: Option<&str>,
    ) -> Result<OciArchiveDestination, TransferError> {
        let mut packing = Packing::create(path)?;
        packing.file(LAYOUT, layout::VERSION)?;
        packing.directory("blobs")?;
        packing.directory("blobs/sha256")?;
        let (place, reference) = (place.to_owned(), reference.map(str::to_owned));
        Ok(OciArchiveDestination { place, reference, packing: Mutex::new(packing) })
    }
}

impl Destination for OciArchiveDestination {
    fn format(&self) -> Option<Format> {
        Some(Format::Oci)
    }

    fn layers(&self) -> Layers {
        Layers::Compressed
    }

    fn has_blob(&self, _blob: &Descriptor) -> Result<bool, TransferError> {
        // What was written already, the copy knows itself.
        Ok(false)
    }

    fn put_blob(&self, _role: Role, blob: &Descriptor, content: &Arc<Verified>) -> Result<(), TransferError> {
        let mut packing = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
        packing.blob(&layout::blob(&blob.digest), content)
    }

    fn put_manifest(&self, document: &Document, is_top: bool) -> Result<(), TransferError> {
        let mut packing = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
        packing.file(&layout::blob(&document.digest), &document.text)?;
        if is_top {
            packing.file(INDEX, &layout::with(&self.place, None, document, self.reference.as_deref())?)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), TransferError> {
        self.packing.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
    }
}
