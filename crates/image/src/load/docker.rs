// SPDX-License-Identifier: Apache-2.0
//! `manifest.json`: the images of an archive as Docker describes them: a configuration, names, and layers by their
//! files. Where the archive is an image layout too, that counts, and only names are taken from here.

use std::collections::BTreeMap;
use std::io::Read as _;

use ::oci::Digest;
use ::oci::document::{Descriptor, Manifest};
use serde::Deserialize;

use super::error::LoadError;
use super::members::{Members, Stored};
use super::{Archived, Found, blob, bounded, name};
use crate::document::{CONFIG_TYPE, MANIFEST_TYPE, MAX_CONFIG};
use crate::error::ImageError;
use crate::references::Session;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Adds what `manifest.json` tells to the images that are known of.
pub(super) fn add_images(session: &Session, members: &Members, images: &mut Archived) -> Result<(), ImageError> {
    let Some(text) = members.document("manifest.json") else {
        let old = members.document("repositories").is_some() && images.is_empty();
        return if old { Err(LoadError::TooOld.into()) } else { Ok(()) };
    };
    let document = |source| LoadError::Document { document: "manifest.json", source };
    let items: Vec<Item> = serde_json::from_slice(text).map_err(document)?;
    bounded(items.len())?;
    let known = by_config(session, images)?;
    for item in items {
        let config = file(members, "configuration", &item.config)?;
        let names = item.repo_tags.iter().flatten().map(|text| name(text)).collect::<Result<Vec<_>, _>>()?;
        let manifest = match known.get(&config.digest) {
            Some(manifest) => *manifest,
            None => manifest(session, members, &item, config)?,
        };
        let new = Found { manifest, media_type: MANIFEST_TYPE.to_owned(), names: Default::default() };
        images.entry(manifest).or_insert(new).names.extend(names);
    }
    Ok(())
}

fn file(members: &Members, what: &'static str, path: &str) -> Result<Stored, LoadError> {
    members.file(path).ok_or_else(|| LoadError::Missing { what, name: path.chars().take(300).collect() })
}

/// The manifests of `images` by their configurations' digests.
fn by_config(session: &Session, images: &Archived) -> Result<BTreeMap<Digest, Digest>, ImageError> {
    let mut manifests = BTreeMap::new();
    for digest in images.keys() {
        let text = blob(session, *digest, MAX_CONFIG)?;
        // What is no manifest is refused when its turn comes.
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) {
            manifests.insert(manifest.config.digest, *digest);
        }
    }
    Ok(manifests)
}

/// Writes the manifest that the archive does not have.
fn manifest(session: &Session, members: &Members, item: &Item, config: Stored) -> Result<Digest, ImageError> {
    let content = &session.store().content;
    let mut layers = Vec::new();
    for path in item.layers.iter().flatten() {
        let stored = file(members, "layer", path)?;
        let mut start = Vec::new();
        let blob = content.open_blob(&stored.digest)?;
        let read = blob.take(4).read_to_end(&mut start);
        read.map_err(|source| ImageError::ReadBlob { digest: stored.digest, source })?;
        let media_type = match layer::detect(&start) {
            layer::Compression::None => "application/vnd.oci.image.layer.v1.tar",
            layer::Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            layer::Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        };
        layers.push(descriptor(media_type, stored));
    }
    let text = serde_json::to_vec(&Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST_TYPE.to_owned()),
        config: descriptor(CONFIG_TYPE, config),
        layers,
    })
    .map_err(|source| LoadError::Document { document: "manifest.json", source })?;
    session.pin(Digest::of(&text));
    Ok(session.store().put_blob(&text)?)
}

fn descriptor(media_type: &str, stored: Stored) -> Descriptor {
    Descriptor::new(media_type, stored.digest, stored.size)
}
