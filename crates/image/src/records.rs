// SPDX-License-Identifier: Apache-2.0
//! The records of images and their names in the metadata, and what is found by them.

use std::collections::{BTreeMap, BTreeSet};

use content::IndexEntry;
use jiff::Timestamp;
use metadata::{Durability, Read, Table, Write};
use oci::document::Descriptor;
use oci::image_spec::ImageConfiguration;
use oci::manifest::NewLayer;
use oci::{Algorithm, Digest, ImageRef};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::error::ImageError;
use crate::lease::Leased;
use crate::references::Pins;
use crate::trusted::{Kept, SIGNATURES};
use crate::{Image, Inner, lease};

/// Canonical name → [`NameRecord`].
pub(crate) const NAMES: Table = Table::new("image-names");
/// Manifest digest → [`ImageRecord`].
pub(crate) const IMAGES: Table = Table::new("images");

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub(crate) manifest: Digest,
    /// What the registry answered to the name: an index or the manifest itself. `None` for what was made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Digest>,
    /// Since when it means that. `None` for what earlier versions have recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
}

/// Gives `name` to the image with this manifest. Since when it has it stays, if it has it already.
fn put_named(tx: &Write<'_>, name: &ImageRef, manifest: Digest, source: Option<Digest>) -> Result<(), ImageError> {
    let before = tx.get::<NameRecord>(NAMES, &name.canonical())?.filter(|named| named.manifest == manifest);
    let since = before.and_then(|named| named.since).or_else(|| Some(Timestamp::now()));
    Ok(tx.put(NAMES, &name.canonical(), &NameRecord { manifest, source, since })?)
}

/// An image that is here, whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) manifest: Digest,
    pub(crate) media_type: String,
    pub(crate) manifest_size: u64,
    /// The digest of the configuration.
    pub(crate) id: Digest,
    pub(crate) config: ImageConfiguration,
    /// Bottom first.
    pub(crate) layers: Vec<LayerRecord>,
    /// Whether it was made from an executable of this program: then it may be replaced by a newer one.
    #[serde(default)]
    pub(crate) embedded: bool,
    /// When it came here. `None` for what earlier versions have recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stored: Option<Timestamp>,
    /// Whether it has ever had a name: what never had one may be about to get it.
    #[serde(default)]
    pub(crate) was_named: bool,
    /// Whether it came by another way than from a registry: then none is known that has it under its digest.
    #[serde(default)]
    pub(crate) unpublished: bool,
}

/// One layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) blob: Digest,
    pub(crate) diff_id: Digest,
    /// Bytes, unpacked.
    pub(crate) size: u64,
    /// As what registries were given it, compressed anew: asked for first, a push need not compress it again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) packed: Vec<NewLayer>,
}

/// Forgets an image, and what is kept only for it.
pub(crate) fn forget_image(tx: &Write<'_>, manifest: &Digest) -> Result<(), ImageError> {
    tx.delete(IMAGES, &manifest.to_string())?;
    tx.delete(SIGNATURES, &manifest.to_string())?;
    Ok(())
}

impl ImageRecord {
    /// An image that has come here just now, whole: its manifest, the digest of its configuration and what that says, and
    /// its layers, bottom first. It gets its names when it is put.
    pub(crate) fn new(manifest: Descriptor, id: Digest, config: ImageConfiguration, layers: Vec<LayerRecord>) -> Self {
        let Descriptor { media_type, digest: manifest, size: manifest_size, .. } = manifest;
        let stored = Some(Timestamp::now());
        ImageRecord {
            manifest,
            media_type,
            manifest_size,
            id,
            config,
            layers,
            embedded: false,
            stored,
            was_named: false,
            unpublished: true,
        }
    }

    /// Notes as what layers were compressed anew; whether that was new.
    fn note_packed(&mut self, changed: &BTreeMap<Digest, NewLayer>) -> bool {
        let mut is_new = false;
        for layer in &mut self.layers {
            if let Some(new) = changed.get(&layer.blob).filter(|new| !layer.packed.contains(new)) {
                // One of each kind: another version of this program may have made other bytes.
                layer.packed.retain(|old| old.compression != new.compression);
                layer.packed.push(*new);
                is_new = true;
            }
        }
        is_new
    }

    /// Everything that must stay as long as this record does.
    pub(crate) fn content(&self) -> impl Iterator<Item = Digest> + '_ {
        let layers = self.layers.iter().flat_map(|layer| [layer.blob, layer.diff_id]);
        [self.manifest, self.id].into_iter().chain(layers)
    }

    pub(crate) fn image(&self, names: &[(ImageRef, NameRecord)]) -> Image {
        let mut repo_digests = BTreeSet::new();
        let mut own = Vec::new();
        for (name, record) in names.iter().filter(|(_, record)| record.manifest == self.manifest) {
            own.push(name.clone());
            repo_digests.extend(record.source.and_then(|source| with_digest(name, source)));
        }
        Image {
            id: self.id,
            manifest: self.manifest,
            manifest_type: self.media_type.clone(),
            manifest_size: self.manifest_size,
            names: own,
            repo_digests: repo_digests.into_iter().collect(),
            config: self.config.clone(),
            layers: self.layers.iter().map(|layer| layer.diff_id).collect(),
            layer_sizes: self.layers.iter().map(|layer| layer.size).collect(),
            size: self.layers.iter().map(|layer| layer.size).sum(),
            created: self.config.created().clone(),
        }
    }
}

/// `name` with `latest` where it has no tag, to give to an image.
pub(crate) fn tagged(name: &ImageRef) -> Result<ImageRef, ImageError> {
    match name.digest() {
        None => Ok(name.clone().with_default_tag()),
        Some(_) => Err(ImageError::DigestName { name: name.to_string() }),
    }
}

/// The name that stands for `digest` in `name`'s repository. A valid repository and a digest always make a name.
pub(crate) fn with_digest(name: &ImageRef, digest: Digest) -> Option<ImageRef> {
    format!("{}/{}@{digest}", name.registry(), name.repository()).parse().ok()
}

/// The hexadecimal digits, if `text` may be an id or the beginning of one.
fn id_digits(text: &str) -> Option<&str> {
    let digits = match text.split_once(':') {
        Some((algorithm, digits)) => algorithm.parse::<Algorithm>().ok().map(|_| digits)?,
        None => text,
    };
    let is_hex = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_hex && (1..=128).contains(&digits.len())).then_some(digits)
}

/// Whether `text` can only be an id: no name looks like this.
fn is_id_only(text: &str) -> bool {
    id_digits(text).is_some_and(|digits| digits.len() == 64 || digits.len() == 128 || digits.len() < text.len())
}

/// All records at one moment.
pub(crate) struct View {
    pub(crate) names: Vec<(ImageRef, NameRecord)>,
    pub(crate) images: BTreeMap<Digest, ImageRecord>,
    pub(crate) leased: Leased,
}

impl View {
    /// The manifests that `text` may mean: by name, or by id and its beginning.
    pub(crate) fn matches(&self, text: &str) -> Result<Found, ImageError> {
        let not_found = || ImageError::NotFound { name: text.to_owned() };
        if !is_id_only(text) {
            let name = text.parse::<ImageRef>()?.with_default_tag();
            if let Some(manifest) = self.named(&name) {
                return Ok(Found::Name(name, manifest));
            }
        }
        if id_digits(text).is_none() {
            return Err(not_found());
        }
        let is_meant = |id: &Digest| id.to_string().starts_with(text) || id.hex().starts_with(text);
        let matching = self.images.values().filter(|record| is_meant(&record.id));
        let ids: BTreeSet<Digest> = matching.map(|record| record.id).collect();
        match ids.len() {
            0 => Err(not_found()),
            1 => Ok(Found::Id(ids.into_iter().next().ok_or_else(not_found)?)),
            count => Err(ImageError::Ambiguous { prefix: text.to_owned(), count }),
        }
    }

    /// The manifest that `name` means. A digest decides alone: the tag beside it is for the reader.
    fn named(&self, name: &ImageRef) -> Option<Digest> {
        let Some(digest) = name.digest() else {
            return self.names.iter().find(|(known, _)| known == name).map(|(_, record)| record.manifest);
        };
        let same_repository =
            |known: &ImageRef| known.registry() == name.registry() && known.repository() == name.repository();
        let means = |record: &NameRecord| record.manifest == digest || record.source == Some(digest);
        self.names
            .iter()
            .find(|(known, record)| same_repository(known) && (known.digest() == Some(digest) || means(record)))
            .map(|(_, record)| record.manifest)
    }

    /// The image with this manifest.
    pub(crate) fn image(&self, manifest: Digest) -> Option<Image> {
        Some(self.images.get(&manifest)?.image(&self.names))
    }

    /// The manifests of the image `id`.
    pub(crate) fn manifests_of(&self, id: Digest) -> Vec<Digest> {
        self.images.values().filter(|record| record.id == id).map(|record| record.manifest).collect()
    }
}

/// What a text meant.
pub(crate) enum Found {
    /// This name, of the image with this manifest.
    Name(ImageRef, Digest),
    /// The image with this id.
    Id(Digest),
}

fn names(tx: &Read<'_>) -> Result<Vec<(ImageRef, NameRecord)>, ImageError> {
    let names = tx.list::<NameRecord>(NAMES)?.into_iter();
    names.map(|(name, record)| Ok((name.parse::<ImageRef>()?, record))).collect()
}

impl Inner {
    pub(crate) fn view(&self) -> Result<View, ImageError> {
        self.metadata.read(|tx| {
            let names = names(tx)?;
            let images = tx.list::<ImageRecord>(IMAGES)?.into_iter().map(|(_, record)| (record.manifest, record));
            Ok(View { names, images: images.collect(), leased: lease::leased(tx)? })
        })
    }

    /// Whether there is an image with this manifest.
    pub(crate) fn is_recorded(&self, manifest: Digest) -> Result<bool, ImageError> {
        let record = self.metadata.read(|tx| tx.get::<IgnoredAny>(IMAGES, &manifest.to_string()));
        record.map(|record| record.is_some()).map_err(ImageError::from)
    }

    /// The record of a layer that is here, as a blob and unpacked.
    pub(crate) fn layer_record(&self, blob: Digest, diff_id: Digest) -> Result<LayerRecord, ImageError> {
        let info = self.layers.layer(&diff_id).map_err(|source| ImageError::Layers(Box::new(source)))?;
        Ok(LayerRecord { blob, diff_id, size: info.size, packed: Vec::new() })
    }

    pub(crate) fn find(&self, text: &str) -> Result<Image, ImageError> {
        if let Some(image) = self.find_tagged(text)? {
            return Ok(image);
        }
        let view = self.view()?;
        let manifest = match view.matches(text)? {
            Found::Name(_, manifest) => Some(manifest),
            Found::Id(id) => view.manifests_of(id).into_iter().next(),
        };
        let image = manifest.and_then(|manifest| view.image(manifest));
        image.ok_or_else(|| ImageError::NotFound { name: text.to_owned() })
    }

    /// The usual case, which every `run` comes through: the record of a tag, without reading those of all images.
    fn find_tagged(&self, text: &str) -> Result<Option<Image>, ImageError> {
        let Ok(name) = text.parse::<ImageRef>() else { return Ok(None) };
        if name.digest().is_some() || is_id_only(text) {
            return Ok(None);
        }
        self.metadata.read(|tx| {
            let Some(named) = tx.get::<NameRecord>(NAMES, &name.with_default_tag().canonical())? else {
                return Ok(None);
            };
            let record = tx.get::<ImageRecord>(IMAGES, &named.manifest.to_string())?;
            let names = names(tx)?;
            Ok(record.map(|record| record.image(&names)))
        })
    }

    /// The record of the image with this manifest, if it is here.
    pub(crate) fn record_of(&self, manifest: Digest) -> Result<Option<ImageRecord>, ImageError> {
        Ok(self.metadata.read(|tx| tx.get::<ImageRecord>(IMAGES, &manifest.to_string()))?)
    }

    pub(crate) fn image(&self, manifest: Digest) -> Result<Image, ImageError> {
        self.view()?.image(manifest).ok_or_else(|| ImageError::NotFound { name: manifest.to_string() })
    }

    pub(crate) fn list(&self) -> Result<Vec<Image>, ImageError> {
        let view = self.view()?;
        let mut images: Vec<Image> = view.images.values().map(|record| record.image(&view.names)).collect();
        // Those without names come last.
        images.sort_by(|a, b| (a.names.is_empty(), &a.names, a.id).cmp(&(b.names.is_empty(), &b.names, b.id)));
        Ok(images)
    }

    /// Records an image whose content is all here, gives it `name`, and keeps its signatures. Durable when this returns.
    pub(crate) fn put_image(
        &self,
        record: &ImageRecord,
        name: &ImageRef,
        source: Option<Digest>,
        signatures: Kept,
    ) -> Result<(), ImageError> {
        let pins = self.references.lock();
        self.metadata.write(Durability::Synced, |tx| {
            tx.put(IMAGES, &record.manifest.to_string(), &ImageRecord { was_named: true, ..record.clone() })?;
            put_named(tx, name, record.manifest, source)?;
            signatures.keep(tx, record.manifest)
        })?;
        self.note_use(record.id);
        self.write_index(&pins)
    }

    /// Records images whose content is all here, each under any number of names: all of them or none. Durable when this
    /// returns.
    pub(crate) fn put_images(&self, images: &[(ImageRecord, BTreeSet<ImageRef>)]) -> Result<(), ImageError> {
        let pins = self.references.lock();
        self.metadata.write(Durability::Synced, |tx| {
            for (record, names) in images {
                // One that is known keeps what only its record knows.
                let known = tx.get::<ImageRecord>(IMAGES, &record.manifest.to_string())?;
                let kept = known.unwrap_or_else(|| record.clone());
                let was_named = kept.was_named || !names.is_empty();
                tx.put(IMAGES, &record.manifest.to_string(), &ImageRecord { was_named, ..kept })?;
                for name in names {
                    put_named(tx, name, record.manifest, None)?;
                }
            }
            Ok::<(), ImageError>(())
        })?;
        images.iter().for_each(|(record, _)| self.note_use(record.id));
        self.write_index(&pins)
    }

    /// Gives an image that is here one more name. Durable when this returns.
    pub(crate) fn put_name(&self, name: &ImageRef, manifest: Digest, source: Option<Digest>) -> Result<(), ImageError> {
        let pins = self.references.lock();
        self.metadata.write(Durability::Synced, |tx| {
            // It may have been removed since it was looked up.
            let Some(record) = tx.get::<ImageRecord>(IMAGES, &manifest.to_string())? else {
                return Err(ImageError::NotFound { name: manifest.to_string() });
            };
            if !record.was_named {
                tx.put(IMAGES, &manifest.to_string(), &ImageRecord { was_named: true, ..record })?;
            }
            put_named(tx, name, manifest, source)
        })?;
        self.write_index(&pins)
    }

    /// Notes what the registry in an image's name was given under that name, unless the name means another image by
    /// now, and as what it was given layers that were compressed anew.
    pub(crate) fn set_pushed(
        &self,
        name: &ImageRef,
        manifest: Digest,
        source: Digest,
        changed: &BTreeMap<Digest, NewLayer>,
    ) -> Result<(), ImageError> {
        let _pins = self.references.lock();
        self.metadata.write(Durability::Synced, |tx| {
            let named = tx.get::<NameRecord>(NAMES, &name.canonical())?;
            if named.is_some_and(|named| named.manifest == manifest) {
                put_named(tx, name, manifest, Some(source))?;
            }
            if let Some(mut record) = tx.get::<ImageRecord>(IMAGES, &manifest.to_string())?
                && record.note_packed(changed)
            {
                tx.put(IMAGES, &manifest.to_string(), &record)?;
            }
            Ok::<(), ImageError>(())
        })
    }

    /// Makes the layout's `index.json` name what the records name. The caller holds the lock of `_pins`.
    pub(crate) fn write_index(&self, _pins: &Pins) -> Result<(), ImageError> {
        let view = self.view()?;
        let mut entries = Vec::new();
        for (name, record) in view.names.iter().filter(|(name, _)| name.digest().is_none()) {
            let Some(image) = view.images.get(&record.manifest) else { continue };
            entries.push(IndexEntry {
                name: name.canonical(),
                digest: image.manifest,
                media_type: image.media_type.clone(),
                size: image.manifest_size,
            });
        }
        Ok(self.content.write_index(&entries)?)
    }
}
