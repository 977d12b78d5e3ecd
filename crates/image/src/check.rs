// SPDX-License-Identifier: Apache-2.0
//! Verifying the store: every blob against its digest, every record and name against what it refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use oci::{Digest, Hasher, ImageRef};

use crate::document::{self, MAX_CONFIG};
use crate::error::ImageError;
use crate::records::{IMAGES, ImageRecord, View};
use crate::{Images, Inner};

const BUFFER: usize = 256 << 10;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blobs that were hashed.
    pub blobs: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Images whose documents and references were compared.
    pub images: usize,
    /// Unpacked layers that images refer to.
    pub layers: usize,
    /// What is broken.
    pub problems: Vec<Problem>,
}

/// Something that is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What: an image, a name, a blob.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl Images {
    /// Verifies all of the store. Reads all blobs: some seconds for ten gigabytes. What is being pulled or removed
    /// meanwhile is passed over.
    ///
    /// # Errors
    /// The metadata or the list of blobs cannot be read. What is broken is no error.
    pub fn check(&self) -> Result<Checked, ImageError> {
        let inner = &self.inner;
        let view = inner.view()?;
        let users = users(&view);
        let mut checked = Checked { images: view.images.len(), ..Checked::default() };
        for (digest, size) in inner.content.blobs()? {
            let problem = match inner.hash(&digest) {
                Ok(found) if found == digest => None,
                Ok(found) => Some(format!("its content has the digest {found}")),
                // Removed since the list was made.
                Err(_) if !inner.content.contains(&digest) => continue,
                Err(error) => Some(errors::chain(&error)),
            };
            (checked.blobs, checked.bytes) = (checked.blobs + 1, checked.bytes + size);
            if let Some(problem) = problem {
                let remedy = users
                    .get(&digest)
                    .map_or_else(|| "no image needs it: it is removed when the daemon starts anew".to_owned(), renew);
                checked.problems.push(Problem { subject: format!("blob {digest}"), problem, remedy });
            }
        }
        let layers = view.images.values().flat_map(|record| record.layers.iter().map(|layer| layer.diff_id));
        checked.layers = layers.collect::<BTreeSet<_>>().len();
        for record in view.images.values() {
            if inner.broken(record).is_empty() {
                continue;
            }
            let shown = shown(&view, record);
            for problem in inner.still_broken(&record.manifest)? {
                let remedy = renew(&BTreeSet::from([shown.clone()]));
                checked.problems.push(Problem { subject: format!("image {shown}"), problem, remedy });
            }
        }
        for (name, named) in view.names.iter().filter(|(_, named)| !view.images.contains_key(&named.manifest)) {
            checked.problems.push(Problem {
                subject: format!("name {name}"),
                problem: format!("there is no image with the manifest {}", named.manifest),
                remedy: format!("corten pull {name}"),
            });
        }
        Ok(checked)
    }
}

/// The images that need each blob.
fn users(view: &View) -> BTreeMap<Digest, BTreeSet<String>> {
    let mut users: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    for record in view.images.values() {
        for digest in record.content() {
            users.entry(digest).or_default().insert(shown(view, record));
        }
    }
    users
}

/// A name of the image, or its id.
fn shown(view: &View, record: &ImageRecord) -> String {
    let name = view.names.iter().find(|(_, named)| named.manifest == record.manifest).map(|(name, _)| name);
    name.map_or_else(|| record.id.to_string(), ImageRef::to_string)
}

fn renew(images: &BTreeSet<String>) -> String {
    let all = images.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    format!("remove and pull, load or build again: corten rmi {all}")
}

impl Inner {
    fn hash(&self, digest: &Digest) -> Result<Digest, ImageError> {
        let mut blob = self.content.open_blob(digest)?;
        let (mut hasher, mut buffer) = (Hasher::with(digest.algorithm()), vec![0; BUFFER]);
        loop {
            let read = blob.read(&mut buffer).map_err(|source| ImageError::ReadBlob { digest: *digest, source })?;
            if read == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(&buffer[..read]);
        }
    }

    /// What is wrong with an image that seemed broken. It may only have been removed since its record was read, or removed
    /// and pulled again: so it is looked at once more while neither can happen.
    fn still_broken(&self, manifest: &Digest) -> Result<Vec<String>, ImageError> {
        let _pins = self.references.lock();
        let record =
            self.metadata.read(|tx| tx.get::<ImageRecord>(IMAGES, &manifest.to_string()).map_err(ImageError::from))?;
        Ok(record.map(|record| self.broken(&record)).unwrap_or_default())
    }

    /// What is wrong with an image's documents and references.
    fn broken(&self, record: &ImageRecord) -> Vec<String> {
        let mut problems = Vec::new();
        let mut missing: BTreeSet<Digest> = BTreeSet::new();
        let blobs = [record.manifest, record.id].into_iter().chain(record.layers.iter().map(|layer| layer.blob));
        missing.extend(blobs.filter(|digest| !self.content.contains(digest)));
        problems.extend(missing.iter().map(|digest| format!("its blob {digest} is missing")));
        let layers: BTreeSet<Digest> = record.layers.iter().map(|layer| layer.diff_id).collect();
        let gone = layers.iter().filter(|diff_id| !self.layers.contains(diff_id));
        problems.extend(gone.map(|diff_id| format!("its unpacked layer {diff_id} is missing")));
        if missing.contains(&record.manifest) || missing.contains(&record.id) {
            return problems;
        }
        match self.documents(record) {
            Ok(true) => {}
            Ok(false) => problems.push("its record names other content than its manifest and configuration".to_owned()),
            // A wrong digest is told of the blob.
            Err(ImageError::Content(content::ContentError::Digest(_))) => {}
            Err(error) => problems.push(errors::chain(&error)),
        }
        problems
    }

    /// Whether the documents say what the record says.
    fn documents(&self, record: &ImageRecord) -> Result<bool, ImageError> {
        let label = record.id.to_string();
        let manifest = document::manifest(&label, &self.content.read_blob(&record.manifest, MAX_CONFIG)?)?;
        let (_, diff_ids) = document::parse_config(&label, &self.content.read_blob(&record.id, MAX_CONFIG)?)?;
        let blobs = manifest.layers.iter().map(|layer| layer.digest);
        let own = |layer: &crate::records::LayerRecord| (layer.blob, layer.diff_id);
        Ok(manifest.config.digest == record.id && blobs.zip(diff_ids).eq(record.layers.iter().map(own)))
    }
}
