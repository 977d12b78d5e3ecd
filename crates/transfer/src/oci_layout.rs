// SPDX-License-Identifier: Apache-2.0
//! `oci:`: images in a directory that is an OCI image layout.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use oci::document::Descriptor;
use oci::media_type::Format;

use crate::blob::{Reader, Verified};
use crate::destination::{Destination, Layers, Role};
use crate::document::{Document, MAX_MANIFEST};
use crate::error::TransferError;
use crate::layout::{self, INDEX, LAYOUT};
use crate::source::Source;
use crate::staged::StagedDirectory;
use crate::tree::Tree;

/// Blobs written at the same time.
const PARALLEL: usize = 5;

/// A layout to be read.
pub(crate) struct LayoutSource {
    place: String,
    tree: Tree,
    reference: Option<String>,
}

impl LayoutSource {
    pub(crate) fn open(place: &str, path: &Path, reference: Option<&str>) -> Result<LayoutSource, TransferError> {
        let tree = Tree::open(path)?;
        check(place, &tree)?;
        Ok(LayoutSource { place: place.to_owned(), tree, reference: reference.map(str::to_owned) })
    }
}

fn check(place: &str, tree: &Tree) -> Result<(), TransferError> {
    layout::check(place, tree.document(place, LAYOUT, LAYOUT, MAX_MANIFEST)?.as_deref())
}

impl Source for LayoutSource {
    fn top(&self) -> Result<Document, TransferError> {
        let index = self.tree.document(&self.place, INDEX, INDEX, MAX_MANIFEST)?;
        let index = index.ok_or_else(|| missing(&self.place, "document", INDEX))?;
        let entry = layout::find(&self.place, &index, self.reference.as_deref())?;
        self.manifest(&entry)?.checked(&self.place, &entry)
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Document, TransferError> {
        let text = self.tree.document(&self.place, &layout::blob(&entry.digest), "manifest", MAX_MANIFEST)?;
        let text = text.ok_or_else(|| missing(&self.place, "manifest", &entry.digest.to_string()))?;
        Document::read(&self.place, text, Some(&entry.media_type))
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Reader>, TransferError> {
        let stretch = self.tree.stretch(&layout::blob(&blob.digest))?;
        let stretch = stretch.ok_or_else(|| missing(&self.place, "blob", &blob.digest.to_string()))?;
        sized(&self.place, blob, stretch.size)?;
        Ok(Box::new(stretch))
    }
}

pub(crate) fn missing(place: &str, what: &'static str, name: &str) -> TransferError {
    TransferError::Missing { place: place.to_owned(), what, name: name.to_owned() }
}

/// A blob that is there must have the size that its manifest says.
pub(crate) fn sized(place: &str, blob: &Descriptor, found: u64) -> Result<(), TransferError> {
    if found == blob.size {
        return Ok(());
    }
    let (place, digest, expected) = (place.to_owned(), Box::new(blob.digest), blob.size);
    Err(TransferError::Size { place, what: "blob", digest, expected, found })
}

/// A layout to be written: a new one, or one more image for one that is there.
pub(crate) struct LayoutDestination {
    place: String,
    reference: Option<String>,
    staged: StagedDirectory,
    /// The index to be, once the image is there.
    index: Mutex<Option<Vec<u8>>>,
}

impl LayoutDestination {
    pub(crate) fn create(
        place: &str,
        path: &Path,
        reference: Option<&str>,
    ) -> Result<LayoutDestination, TransferError> {
        let staged = StagedDirectory::create(path, |tree| match check(place, tree) {
            Err(TransferError::Layout { .. }) => {
                Err(TransferError::Foreign { path: path.to_owned(), not: "no OCI image layout of version 1.0.0" })
            }
            checked => checked,
        })?;
        let (place, reference) = (place.to_owned(), reference.map(str::to_owned));
        Ok(LayoutDestination { place, reference, staged, index: Mutex::default() })
    }
}

impl Destination for LayoutDestination {
    fn format(&self) -> Option<Format> {
        Some(Format::Oci)
    }

    fn layers(&self) -> Layers {
        Layers::Compressed
    }

    fn parallel(&self) -> usize {
        PARALLEL
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool, TransferError> {
        let Some(before) = self.staged.before() else { return Ok(false) };
        Ok(before.size(&layout::blob(&blob.digest))? == Some(blob.size))
    }

    fn put_blob(&self, _role: Role, blob: &Descriptor, content: &Arc<Verified>) -> Result<(), TransferError> {
        self.staged.blob(&layout::blob(&blob.digest), content)
    }

    fn put_manifest(&self, document: &Document, is_top: bool) -> Result<(), TransferError> {
        if !self.has_blob(&document.descriptor())? {
            self.staged.write(&layout::blob(&document.digest), &document.text)?;
        }
        if is_top {
            let before = match self.staged.before() {
                Some(before) => before.document(&self.place, INDEX, INDEX, MAX_MANIFEST)?,
                None => None,
            };
            let index = layout::with(&self.place, before.as_deref(), document, self.reference.as_deref())?;
            *self.index.lock().unwrap_or_else(PoisonError::into_inner) = Some(index);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), TransferError> {
        if self.staged.before().is_none() {
            self.staged.write(LAYOUT, layout::VERSION)?;
        }
        if let Some(index) = self.index.into_inner().unwrap_or_else(PoisonError::into_inner) {
            // The last file: it makes the image seen.
            self.staged.write(INDEX, &index)?;
        }
        self.staged.finish(&[])
    }
}
