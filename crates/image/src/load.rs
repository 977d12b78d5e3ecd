// SPDX-License-Identifier: Apache-2.0
//! Loading: images out of an archive that `docker save`, skopeo, buildah, umoci or Corten wrote, plain or compressed as
//! a whole with gzip or zstd.
//!
//! The archive is read once, from front to back, whatever the order of its members: files go into the content store as
//! they come (hashed, and compared where their name is a digest), the few documents are kept in memory. Then the
//! documents say which blobs are whose, and layers are unpacked and verified as those of a pull are. Names come last.
//! What has no image then, is removed: so nothing stays of an archive that is refused.

mod docker;
mod error;
mod members;
mod oci_layout;
mod platform;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use oci::document::Descriptor;
use oci::{Digest, ImageRef, Platform};

use crate::document::{self, MAX_CONFIG};
use crate::error::ImageError;
use crate::fetch;
use crate::records::ImageRecord;
use crate::references::Session;
use crate::{Deed, Image, Images, Inner, PARALLEL_LAYERS};

pub use error::LoadError;

/// Images that an archive may name: each costs a reading of its documents.
const MAX_IMAGES: usize = 1024;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The image.
    pub image: Image,
    /// The names that the archive gave it.
    pub names: Vec<ImageRef>,
}

/// An image as the archive describes it: a manifest that is in the content store, and names.
struct Found {
    manifest: Digest,
    media_type: String,
    names: BTreeSet<ImageRef>,
}

impl Images {
    /// Loads the images of the archive `reader`. Of an image for several platforms those for `platforms` are taken, or without
    /// any the one for this host, or else the first that is whole. A name means one image: of several it is this
    /// host's, or else the one whose platform stands first. Blocks until it is done.
    ///
    /// # Errors
    /// [`ImageError::Load`] for an archive that is none, is cut off or hostile; [`ImageError::Platform`]; what can go
    /// wrong with a pulled image's documents and layers. Nothing is kept then.
    pub fn load(&self, reader: impl Read, platforms: &[Platform]) -> Result<Vec<Loaded>, ImageError> {
        let (session, _) = Session::begin(&self.inner);
        let tar = layer::decompressed(reader).map_err(ImageError::Input)?;
        let members = members::store(&session, tar)?;
        let mut found = oci_layout::images(&session, &members, platforms)?;
        docker::add_images(&session, &members, &mut found)?;
        if found.is_empty() {
            return Err(LoadError::NoImage.into());
        }
        let store = session.store();
        let known = store.view()?.images.into_values().flat_map(|record| record.layers);
        let known: Known = known.map(|layer| (layer.blob, layer.diff_id)).collect();
        let records = found.into_values().map(|image| Ok((unpack(&session, &known, &image, platforms)?, image.names)));
        let mut records = records.collect::<Result<Vec<_>, ImageError>>()?;
        platform::check_all(&records, platforms)?;
        platform::give_names(&mut records, platforms);
        store.put_images(&records)?;
        let loaded = records.into_iter().map(|(record, names)| {
            let image = store.image(record.manifest)?;
            store.happened_to(&image, Deed::Loaded);
            Ok(Loaded { image, names: names.into_iter().collect() })
        });
        loaded.collect()
    }
}

/// The images of an archive, by their manifests' digests.
type Archived = BTreeMap<Digest, Found>;

/// Blobs whose diff IDs were verified before.
type Known = BTreeSet<(Digest, Digest)>;

/// Checks an image's documents, unpacks its layers, and makes its record.
fn unpack(session: &Session, known: &Known, image: &Found, platforms: &[Platform]) -> Result<ImageRecord, ImageError> {
    let store = session.store();
    let label = image.names.first().map_or_else(|| image.manifest.to_string(), ImageRef::to_string);
    let text = blob(session, image.manifest, MAX_CONFIG)?;
    let manifest = document::manifest(&label, &text)?;
    let (id, config) = (manifest.config.digest, blob(session, manifest.config.digest, MAX_CONFIG)?);
    let (config, diff_ids) = document::parse_config(&label, &config)?;
    if diff_ids.len() != manifest.layers.len() {
        return Err(document::inconsistent(
            &label,
            "its manifest and its configuration differ in the number of layers",
        ));
    }
    platform::check(&label, &config, platforms)?;
    let mut missing = BTreeMap::new();
    for (layer, diff_id) in manifest.layers.iter().zip(&diff_ids) {
        session.pin(layer.digest);
        session.pin(*diff_id);
        match store.content.size(&layer.digest) {
            Ok(size) if size == layer.size => {}
            Ok(_) => return Err(document::inconsistent(&label, "a layer has another size than its manifest says")),
            Err(_) => return Err(LoadError::Missing { what: "layer", name: layer.digest.to_string() }.into()),
        }
        // One blob has one content, so one diff ID.
        if *missing.entry(layer.digest).or_insert(*diff_id) != *diff_id {
            return Err(document::inconsistent(&label, "one layer appears with two diff IDs"));
        }
    }
    unpack_layers(store, known, &label, missing)?;
    let layers = manifest.layers.iter().zip(&diff_ids);
    let layers = layers.map(|(layer, diff_id)| store.layer_record(layer.digest, *diff_id));
    let layers = layers.collect::<Result<_, _>>()?;
    let described = Descriptor::new(&image.media_type, image.manifest, text.len() as u64);
    Ok(ImageRecord::new(described, id, config, layers))
}

/// Unpacks blobs as the layers that they are claimed to be, several at a time.
fn unpack_layers(
    store: &Inner,
    known: &Known,
    label: &str,
    layers: BTreeMap<Digest, Digest>,
) -> Result<(), ImageError> {
    let threads = layers.len().min(PARALLEL_LAYERS);
    let queue = Mutex::new(layers.into_iter());
    let work = || -> Result<(), ImageError> {
        loop {
            // Nothing can panic while it is locked.
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((digest, diff_id)) = next else { return Ok(()) };
            if known.contains(&(digest, diff_id)) {
                fetch::unpack_stored(store, label, digest, diff_id)?;
            } else {
                fetch::unpack_claimed(store, label, digest, diff_id)?;
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // All are waited for: one that has failed must not leave the others behind.
        results.fold(Ok(()), Result::and)
    })
}

/// A document that must be in the archive, or here already.
fn blob(session: &Session, digest: Digest, max: u64) -> Result<Vec<u8>, ImageError> {
    session.pin(digest);
    if !session.store().content.contains(&digest) {
        return Err(LoadError::Missing { what: "document", name: digest.to_string() }.into());
    }
    Ok(session.store().content.read_blob(&digest, max)?)
}

fn bounded(images: usize) -> Result<(), LoadError> {
    if images > MAX_IMAGES { Err(LoadError::Limit { what: "images", limit: MAX_IMAGES as u64 }) } else { Ok(()) }
}

/// A name that an archive gives: with a tag, and nothing else.
fn name(text: &str) -> Result<ImageRef, LoadError> {
    let unusable = || LoadError::Name { name: text.chars().take(300).collect() };
    let name: ImageRef = text.parse().map_err(|_| unusable())?;
    if name.digest().is_some() {
        return Err(unusable());
    }
    Ok(name.with_default_tag())
}
