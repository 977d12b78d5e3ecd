// SPDX-License-Identifier: Apache-2.0
//! Saving: images as one archive that is an OCI image layout (image-spec, `image-layout.md`) and what `docker load` and
//! others read as a "docker-archive" at once, as Docker writes it since version 25.
//!
//! ```text
//! oci-layout, index.json        the layout; names as annotations
//! manifest.json, repositories   the same for readers of the older form
//! blobs/<algorithm>/<hex>       manifests, configurations and layers as they came
//! ```
//!
//! Nothing is copied on disk: blobs go from the content store into the archive, hashed once more on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use content::ContentError;
use layer::{Entry, Kind, Writer};
use oci::{Algorithm, Digest, Hasher, ImageRef, Platform};
use serde::Serialize;

use crate::error::ImageError;
use crate::records::{Found, ImageRecord, View};
use crate::references::Session;
use crate::{Deed, Images, document, embedded};

/// The annotation by which Docker and containerd find an image's full name.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation of the image-spec; a tag alone, by Docker's habit.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
const BUFFER: usize = 256 << 10;

/// Images about to be saved. What they are made of stays here until this is dropped.
#[must_use = "nothing is written before `write`"]
pub struct Saving {
    session: Session,
    images: Vec<(ImageRecord, Vec<ImageRef>)>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<Named<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Named<'a> {
    media_type: &'a str,
    digest: Digest,
    size: u64,
    platform: Platform,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

impl Images {
    /// Looks up what `names` mean, to be written by [`Saving::write`]. A repository without a tag means all its tags,
    /// an id the image without names. Each must be for all of `platforms`: of one name the image for one platform is here.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Ambiguous`], [`ImageError::Platform`].
    pub fn save(&self, names: &[String], platforms: &[Platform]) -> Result<Saving, ImageError> {
        if names.iter().any(|name| embedded::is_embedded(name)) {
            self.ensure_embedded()?;
        }
        let (session, _) = Session::begin(&self.inner);
        let view = self.inner.view()?;
        let mut chosen: BTreeMap<Digest, BTreeSet<ImageRef>> = BTreeMap::new();
        for name in names {
            for (manifest, name) in meant(&view, name)? {
                chosen.entry(manifest).or_default().extend(name);
            }
        }
        let mut images = Vec::new();
        for (manifest, names) in chosen {
            let record = view.images.get(&manifest).ok_or_else(|| missing(&manifest))?.clone();
            for wanted in platforms {
                document::serves(&shown(&record, &names), &record.config, wanted)?;
            }
            record.content().for_each(|digest| session.pin(digest));
            images.push((record, names.into_iter().collect()));
        }
        // It may have been removed before it was pinned.
        let now = self.inner.view()?;
        match images.iter().find(|(record, _)| !now.images.contains_key(&record.manifest)) {
            Some((record, _)) => Err(missing(&record.id)),
            None => {
                for (record, _) in &images {
                    self.inner.happened(Deed::Saved, record.id, &record.config);
                }
                Ok(Saving { session, images })
            }
        }
    }
}

fn missing(digest: &Digest) -> ImageError {
    ImageError::NotFound { name: digest.to_string() }
}

fn shown(record: &ImageRecord, names: &BTreeSet<ImageRef>) -> String {
    names.first().map_or_else(|| record.id.to_string(), ImageRef::to_string)
}

/// The images that `text` means, each with the tag under which it was meant.
fn meant(view: &View, text: &str) -> Result<Vec<(Digest, Option<ImageRef>)>, ImageError> {
    if let Ok(name) = text.parse::<ImageRef>()
        && name.tag().is_none()
        && name.digest().is_none()
    {
        let same = |known: &ImageRef| known.registry() == name.registry() && known.repository() == name.repository();
        let tags = view.names.iter().filter(|(known, _)| same(known) && known.tag().is_some());
        let all: Vec<_> = tags.map(|(known, record)| (record.manifest, Some(known.clone()))).collect();
        if !all.is_empty() {
            return Ok(all);
        }
    }
    match view.matches(text)? {
        Found::Name(name, manifest) => Ok(vec![(manifest, name.tag().is_some().then_some(name))]),
        Found::Id(id) => Ok(view.manifests_of(id).into_iter().take(1).map(|manifest| (manifest, None)).collect()),
    }
}

/// Where a blob stands in the archive.
fn path(digest: &Digest) -> String {
    format!("blobs/{}", digest.blob_name())
}

impl Saving {
    /// Writes the archive to `out`. Blocks until all of it is written.
    ///
    /// # Errors
    /// [`ImageError::Output`]; a blob that is no longer what its digest says. The archive is cut off then.
    pub fn write(self, out: impl Write) -> Result<(), ImageError> {
        let mut archive = Writer::new(io::BufWriter::with_capacity(BUFFER, out));
        let documents = [
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json", encode(&self.index())?),
            ("manifest.json", encode(&self.manifest())?),
            ("repositories", encode(&self.repositories())?),
        ];
        for (name, text) in &documents {
            archive.file(&file(name, text.len() as u64), text).map_err(ImageError::Output)?;
        }
        let blobs: BTreeSet<Digest> = self
            .images
            .iter()
            .flat_map(|(record, _)| {
                [record.manifest, record.id].into_iter().chain(record.layers.iter().map(|l| l.blob))
            })
            .collect();
        let algorithms: BTreeSet<Algorithm> = blobs.iter().map(Digest::algorithm).collect();
        let below = algorithms.iter().map(|algorithm| format!("blobs/{}", algorithm.as_str()));
        for directory in std::iter::once("blobs".to_owned()).chain(below) {
            archive.entry(&Entry::new(Kind::Directory, directory, 0o755)).map_err(ImageError::Output)?;
        }
        for digest in &blobs {
            self.blob(&mut archive, digest)?;
        }
        let mut out = archive.finish().map_err(ImageError::Output)?;
        out.flush().map_err(ImageError::Output)
    }

    fn blob(&self, archive: &mut Writer<impl Write>, digest: &Digest) -> Result<(), ImageError> {
        let content = &self.session.store().content;
        let mut blob = content.open_blob(digest)?;
        archive.entry(&file(&path(digest), content.size(digest)?)).map_err(ImageError::Output)?;
        let (mut hasher, mut buffer) = (Hasher::with(digest.algorithm()), vec![0; BUFFER]);
        loop {
            let read = blob.read(&mut buffer).map_err(|source| ImageError::ReadBlob { digest: *digest, source })?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            archive.data(&buffer[..read]).map_err(ImageError::Output)?;
        }
        Ok(digest.matches(hasher.finish()).map_err(ContentError::Digest)?)
    }

    /// One entry for each name; one for an image without names.
    fn index(&self) -> Index<'_> {
        let mut manifests = Vec::new();
        for (record, names) in &self.images {
            let named = |name: Option<&ImageRef>| Named {
                media_type: &record.media_type,
                digest: record.manifest,
                size: record.manifest_size,
                platform: Platform::of(&record.config),
                annotations: name
                    .map(|name| (name.canonical(), name.tag().unwrap_or_default().to_owned()))
                    .map(|(name, tag)| BTreeMap::from([(IMAGE_NAME, name), (REF_NAME, tag)]))
                    .unwrap_or_default(),
            };
            manifests.extend(names.iter().map(|name| named(Some(name))));
            if names.is_empty() {
                manifests.push(named(None));
            }
        }
        Index { schema_version: 2, media_type: registry_client::media_type::OCI_INDEX, manifests }
    }

    fn manifest(&self) -> Vec<Item> {
        let item = |(record, names): &(ImageRecord, Vec<ImageRef>)| Item {
            config: path(&record.id),
            repo_tags: names.iter().map(ImageRef::to_string).collect(),
            layers: record.layers.iter().map(|layer| path(&layer.blob)).collect(),
        };
        self.images.iter().map(item).collect()
    }

    /// Repository → tag → top layer, for readers older than `manifest.json`.
    fn repositories(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (record, names) in &self.images {
            let Some(top) = record.layers.last() else { continue };
            for name in names {
                let tags = repositories.entry(name.familiar_repository()).or_default();
                tags.insert(name.tag().unwrap_or_default().to_owned(), top.blob.hex());
            }
        }
        repositories
    }
}

/// A file of the epoch: what is saved twice is the same twice.
fn file(name: &str, size: u64) -> Entry {
    let mut entry = Entry::new(Kind::File, name, 0o644);
    entry.size = size;
    entry
}

fn encode(document: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(document).map_err(|source| ImageError::Output(source.into()))
}
