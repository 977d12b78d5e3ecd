// SPDX-License-Identifier: Apache-2.0
//! `dir:`: one image as the files of a directory, as skopeo has them: `version`, `manifest.json`, `HEX.manifest.json` for
//! each manifest that an index lists, and blobs that are called by the digits of their digests.

use std::path::Path;
use std::sync::Arc;

use oci::Digest;
use oci::document::Descriptor;

use crate::blob::{Reader, Verified};
use crate::destination::{Destination, Role};
use crate::document::{Document, MAX_MANIFEST};
use crate::error::TransferError;
use crate::oci_layout::{missing, sized};
use crate::source::Source;
use crate::staged::StagedDirectory;
use crate::tree::Tree;

const VERSION: &str = "version";
const VERSION_TEXT: &[u8] = b"Directory Transport Version: 1.1\n";
const MANIFEST: &str = "manifest.json";
/// Signatures of skopeo's lie beside the image they are for: those of another must go with it.
const MAX_SIGNATURES: usize = 128;
/// Blobs written at the same time.
const PARALLEL: usize = 5;

fn instance(digest: &Digest) -> String {
    format!("{}.manifest.json", digest.hex())
}

/// A directory to be read.
pub(crate) struct DirectorySource {
    place: String,
    tree: Tree,
}

impl DirectorySource {
    pub(crate) fn open(place: &str, path: &Path) -> Result<DirectorySource, TransferError> {
        Ok(DirectorySource { place: place.to_owned(), tree: Tree::open(path)? })
    }

    fn text(&self, name: &str) -> Result<Vec<u8>, TransferError> {
        let text = self.tree.document(&self.place, name, "manifest", MAX_MANIFEST)?;
        text.ok_or_else(|| missing(&self.place, "document", name))
    }
}

impl Source for DirectorySource {
    fn top(&self) -> Result<Document, TransferError> {
        Document::read(&self.place, self.text(MANIFEST)?, None)
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Document, TransferError> {
        Document::read(&self.place, self.text(&instance(&entry.digest))?, Some(&entry.media_type))
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Reader>, TransferError> {
        let stretch = self.tree.stretch(&blob.digest.hex())?;
        let stretch = stretch.ok_or_else(|| missing(&self.place, "blob", &blob.digest.to_string()))?;
        sized(&self.place, blob, stretch.size)?;
        Ok(Box::new(stretch))
    }
}

/// A directory to be written: a new one, or one that held another image.
pub(crate) struct DirectoryDestination {
    staged: StagedDirectory,
    /// Files of the image before that would be taken for this one's.
    outdated: Vec<String>,
}

impl DirectoryDestination {
    pub(crate) fn create(place: &str, path: &Path) -> Result<DirectoryDestination, TransferError> {
        let mut outdated = Vec::new();
        let staged = StagedDirectory::create(path, |tree| {
            if tree
                .document(place, VERSION, VERSION, 1024)?
                .is_none_or(|text| !text.starts_with(b"Directory Transport"))
            {
                let not = "no directory that an image was copied into";
                return Err(TransferError::Foreign { path: path.to_owned(), not });
            }
            for number in 1..=MAX_SIGNATURES {
                let name = format!("signature-{number}");
                if tree.file(&name)?.is_none() {
                    break;
                }
                outdated.push(name);
            }
            Ok(())
        })?;
        Ok(DirectoryDestination { staged, outdated })
    }
}

impl Destination for DirectoryDestination {
    fn parallel(&self) -> usize {
        PARALLEL
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool, TransferError> {
        let Some(before) = self.staged.before() else { return Ok(false) };
        Ok(before.size(&blob.digest.hex())? == Some(blob.size))
    }

    fn put_blob(&self, _role: Role, blob: &Descriptor, content: &Arc<Verified>) -> Result<(), TransferError> {
        self.staged.blob(&blob.digest.hex(), content)
    }

    fn put_manifest(&self, document: &Document, is_top: bool) -> Result<(), TransferError> {
        if !is_top {
            return self.staged.write(&instance(&document.digest), &document.text);
        }
        self.staged.write(VERSION, VERSION_TEXT)?;
        // The last file: it makes the image seen.
        self.staged.write(MANIFEST, &document.text)
    }

    fn finish(self: Box<Self>) -> Result<(), TransferError> {
        self.staged.finish(&self.outdated)
    }
}
