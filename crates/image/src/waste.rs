// SPDX-License-Identifier: Apache-2.0
//! Bytes of an image that nobody can use: hidden by later layers, stored twice, or left behind by package managers; each
//! with the instruction that put them there.
//!
//! Layers are read as they came, from the content store; what they hold is decided by their archives alone.

mod analysis;
mod caches;

use std::io::Read;

use layer::{Kind, Limits, Members};
use oci::{Digest, Hasher};

use crate::error::ImageError;
use crate::{Image, Images};

use analysis::{Analysis, Content};

/// The waste in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waste {
    /// The image.
    pub id: Digest,
    /// Bytes of all its layers' files.
    pub size: u64,
    /// Bytes that it could be smaller by. Nothing counts twice.
    pub wasted: u64,
    /// Its layers, bottom first.
    pub layers: Vec<LayerWaste>,
}

/// The waste in one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerWaste {
    /// The layer.
    pub diff_id: Digest,
    /// The instruction that made it, as its builder wrote it.
    pub created_by: String,
    /// Bytes of its files.
    pub size: u64,
    /// Bytes that it could be smaller by.
    pub wasted: u64,
    /// What is wasted, the most first.
    pub findings: Vec<Finding>,
}

/// Bytes that are wasted for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Why.
    pub reason: Reason,
    /// How many.
    pub bytes: u64,
    /// In how many files.
    pub files: u64,
    /// The largest of these, with their bytes.
    pub examples: Vec<(String, u64)>,
}

/// Why bytes of a layer are wasted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A later layer removes or replaces the files.
    Hidden {
        /// The place of that layer, counted from 0 at the bottom.
        by: usize,
    },
    /// The image has files of the same content already, in this layer or below.
    Repeated,
    /// A program's cache, of no use in an image.
    Cache {
        /// Whose.
        what: &'static str,
        /// What keeps it out of the image.
        remedy: &'static str,
    },
}

impl Images {
    /// Looks for waste in the image called `name`. Reads and hashes all its layers: about a second for a gigabyte.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Ambiguous`]; a layer cannot be read.
    pub fn waste(&self, name: &str) -> Result<Waste, ImageError> {
        let image = self.resolve(name)?;
        let blobs = self.inner.layer_blobs(&image)?;
        let mut analysis = Analysis::default();
        for blob in &blobs {
            self.read_layer(name, *blob, &mut analysis)?;
        }
        let history = image.history();
        let made_by = |diff_id: &Digest, place: usize| {
            // One layer may stand in an image twice: its place tells the instruction.
            let own = history.iter().filter(|step| step.layer.is_some()).nth(place);
            own.filter(|step| step.layer.as_ref() == Some(diff_id)).map(|step| step.created_by.clone())
        };
        let findings = analysis.finish();
        let layers: Vec<LayerWaste> = image
            .layers
            .iter()
            .zip(&image.layer_sizes)
            .zip(findings)
            .enumerate()
            .map(|(place, ((diff_id, size), findings))| LayerWaste {
                diff_id: *diff_id,
                created_by: made_by(diff_id, place).unwrap_or_default(),
                size: *size,
                wasted: findings.iter().map(|finding| finding.bytes).sum(),
                findings,
            })
            .collect();
        Ok(Waste { id: image.id, size: image.size, wasted: layers.iter().map(|layer| layer.wasted).sum(), layers })
    }

    fn read_layer(&self, image: &str, blob: Digest, analysis: &mut Analysis) -> Result<(), ImageError> {
        let unreadable = |source| ImageError::Decompress { image: image.to_owned(), layer: blob, source };
        // Its digest proves that nothing is missing: some builders leave the marker out.
        let limits = Limits { end_marker: false, ..Limits::default() };
        let tar = layer::decompressed(self.inner.content.open_blob(&blob)?).map_err(unreadable)?;
        let mut members = Members::new(tar, &limits);
        analysis.begin_layer();
        while let Some(entry) = members.advance().map_err(ImageError::Archive)? {
            let (path, kind, size) = (entry.name.clone(), entry.kind, entry.size);
            let content = match kind {
                Kind::Directory => Content::Directory,
                Kind::HardLink => Content::HardLink(members.hard_link_target().map_err(ImageError::Archive)?),
                Kind::File => Content::File { size, hash: hash(&mut members)? },
                _ => Content::Other,
            };
            analysis.add(path, content);
        }
        analysis.end_layer();
        Ok(())
    }
}

/// The digest of the current member's data. A file with holes is known by what is between them.
fn hash(members: &mut Members<'_, impl Read>) -> Result<Digest, ImageError> {
    let mut hasher = Hasher::new();
    while let Some(piece) = members.piece().map_err(ImageError::Archive)? {
        hasher.update(piece);
    }
    Ok(hasher.finish())
}

impl crate::Inner {
    /// The blobs of an image's layers, bottom first.
    fn layer_blobs(&self, image: &Image) -> Result<Vec<Digest>, ImageError> {
        let view = self.view()?;
        let record = view.images.get(&image.manifest);
        let record = record.ok_or_else(|| ImageError::NotFound { name: image.id.to_string() })?;
        Ok(record.layers.iter().map(|layer| layer.blob).collect())
    }
}
