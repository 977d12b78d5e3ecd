// SPDX-License-Identifier: Apache-2.0
//! Pushing: the blobs that the registry lacks, the largest first, and at the very end the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;

use content::ContentError;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use layer::Compression;
use oci::document::{Descriptor, Manifest};
use oci::manifest::NewLayer;
use oci::media_type::LayerType;
use oci::{Digest, ImageRef};
use registry_client::Client;
use tokio::sync::Semaphore;

use crate::document;
use crate::error::ImageError;
use crate::fetch::blocking;
use crate::progress::{Event, Progress, Status};
use crate::recompress;
use crate::records::{ImageRecord, View};
use crate::references::Session;
use crate::{Deed, Images, Inner};

/// Blobs uploaded at the same time, over all pushes: as many as Docker's default.
pub(crate) const PARALLEL_UPLOADS: usize = 5;
/// Repositories that are asked for one blob before it is uploaded.
const MOUNT_ATTEMPTS: usize = 3;
/// The longest manifest that registries must take (distribution-spec, "Pushing Manifests").
const MAX_MANIFEST: u64 = 4 << 20;

/// How an image is pushed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushOptions {
    /// How its layers shall be compressed in the registry.
    pub packing: Packing,
}

/// How layers shall be compressed in a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packing {
    /// With gzip those that are not compressed, unless the image came from a registry: what others know by its digest
    /// keeps it.
    #[default]
    Usual,
    /// As they are here, byte for byte.
    Keep,
    /// All of them so.
    As(Compression),
}

/// What a registry has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest that it was given.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
}

impl Images {
    /// Gives the image `name` to the registry in its name, under its tag, `latest` where it has none. Only what the
    /// registry lacks is uploaded; what another repository of the same registry has is taken from there.
    ///
    /// # Errors
    /// [`ImageError::NotFound`]; [`ImageError::PushDigest`]; [`ImageError::LayerGone`]; the registry's.
    pub async fn push(
        &self,
        name: &ImageRef,
        options: PushOptions,
        progress: &dyn Progress,
    ) -> Result<Pushed, ImageError> {
        if name.digest().is_some() {
            return Err(ImageError::PushDigest { name: name.to_string() });
        }
        let name = name.clone().with_default_tag();
        let (session, _) = Session::begin(&self.inner);
        let session = Arc::new(session);
        let (images, shared, wanted) = (self.clone(), Arc::clone(&session), name.clone());
        let local = blocking(move || Local::of(&images, &shared, wanted)).await?;
        let registry = self.registry.clone();
        let target = match options.packing {
            Packing::As(compression) => Target::All(compression),
            Packing::Usual if local.record.unpublished => Target::Uncompressed,
            Packing::Usual | Packing::Keep => Target::None,
        };
        let (id, config) = (local.record.id, local.record.config.clone());
        let push =
            Push { session, registry, name: name.clone(), local, target, progress, one_at_a_time: Semaphore::new(1) };
        let pushed = push.run().await?;
        self.inner.happened(Deed::Pushed(name), id, &config);
        Ok(pushed)
    }

    /// The tags that images here have in the repository of `name`, sorted.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] when there is none.
    pub fn tags(&self, name: &ImageRef) -> Result<Vec<ImageRef>, ImageError> {
        let view = self.inner.view()?;
        let tags = view.names.into_iter().map(|(known, _)| known);
        let mut tags: Vec<ImageRef> =
            tags.filter(|known| same_repository(known, name) && known.tag().is_some()).collect();
        tags.sort();
        if tags.is_empty() {
            return Err(ImageError::NotFound { name: name.familiar_repository() });
        }
        Ok(tags)
    }
}

fn same_repository(a: &ImageRef, b: &ImageRef) -> bool {
    a.registry() == b.registry() && a.repository() == b.repository()
}

/// The image as it is here.
struct Local {
    record: ImageRecord,
    text: Vec<u8>,
    manifest: Manifest,
    /// Blob → other repositories of the registry that have it, as far as is known.
    elsewhere: BTreeMap<Digest, BTreeSet<String>>,
    packed: Packed,
}

/// Blob → as what it was given to registries before, compressed anew.
type Packed = BTreeMap<Digest, BTreeSet<NewLayer>>;

impl Local {
    fn of(images: &Images, session: &Session, name: ImageRef) -> Result<Local, ImageError> {
        let label = name.to_string();
        let image = images.resolve(&name.canonical())?;
        let view = images.inner.view()?;
        let not_found = || ImageError::NotFound { name: label.clone() };
        // A name may read as the beginning of an id; only the name may be pushed.
        let record = view.images.get(&image.manifest).filter(|_| image.names.contains(&name)).ok_or_else(not_found)?;
        record.content().for_each(|digest| session.pin(digest));
        let text = images.inner.content.read_blob(&record.manifest, MAX_MANIFEST)?;
        let manifest = document::manifest(&label, &text)?;
        let packed = packed(&view, &manifest);
        let elsewhere = elsewhere(&view, &name, &manifest, &packed);
        Ok(Local { record: record.clone(), text, manifest, elsewhere, packed })
    }
}

/// Where else in the registry each blob is: in every repository that one of its images was pulled from or pushed to.
fn elsewhere(view: &View, name: &ImageRef, manifest: &Manifest, packed: &Packed) -> BTreeMap<Digest, BTreeSet<String>> {
    let packed = packed.values().flatten().map(|packed| packed.digest);
    let wanted: BTreeSet<Digest> = manifest.layers.iter().map(|layer| layer.digest).chain(packed).collect();
    let mut found: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    for (other, named) in &view.names {
        if other.registry() != name.registry() || same_repository(other, name) || named.source.is_none() {
            continue;
        }
        let Some(record) = view.images.get(&named.manifest) else { continue };
        let layers = record.layers.iter();
        let blobs = layers.flat_map(|layer| layer.packed.iter().map(|packed| packed.digest).chain([layer.blob]));
        for blob in blobs.filter(|blob| wanted.contains(blob)) {
            found.entry(blob).or_default().insert(other.repository().to_owned());
        }
    }
    found
}

/// As what the layers of `manifest` were compressed anew, for pushes of this image or of others that have them.
fn packed(view: &View, manifest: &Manifest) -> Packed {
    let wanted: BTreeSet<Digest> = manifest.layers.iter().map(|layer| layer.digest).collect();
    let mut found = Packed::new();
    for layer in view.images.values().flat_map(|record| &record.layers) {
        if wanted.contains(&layer.blob) && !layer.packed.is_empty() {
            found.entry(layer.blob).or_default().extend(&layer.packed);
        }
    }
    found
}

/// Which layers are compressed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    None,
    /// Those that are not compressed, with gzip.
    Uncompressed,
    /// Those that are not compressed so.
    All(Compression),
}

impl Target {
    /// How a layer is to be compressed that is compressed as `found`; `None` when it stays.
    pub(crate) fn of(self, found: Compression) -> Option<Compression> {
        match self {
            Target::Uncompressed if found == Compression::None => Some(Compression::Gzip),
            Target::All(wanted) if found != wanted => Some(wanted),
            _ => None,
        }
    }
}

struct Push<'a> {
    session: Arc<Session>,
    registry: Client,
    name: ImageRef,
    local: Local,
    target: Target,
    progress: &'a dyn Progress,
    /// Compressing takes all processors as it is.
    one_at_a_time: Semaphore,
}

impl Push<'_> {
    async fn run(self) -> Result<Pushed, ImageError> {
        let manifest = &self.local.manifest;
        let distinct: BTreeMap<Digest, &Descriptor> =
            manifest.layers.iter().map(|layer| (layer.digest, layer)).collect();
        let mut layers: Vec<&Descriptor> = distinct.into_values().collect();
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        let mut pushes: FuturesUnordered<_> = layers.into_iter().map(|layer| self.layer(layer)).collect();
        let mut changed = BTreeMap::new();
        while let Some(result) = pushes.next().await {
            // Dropping the others ends them: the registry forgets half an upload by itself.
            let (digest, recompressed) = result?;
            changed.extend(recompressed.map(|recompressed| (digest, recompressed)));
        }
        drop(pushes);
        let config = &manifest.config;
        self.blob(config.digest, config.size, &|_| {}).await?;
        self.manifest(&changed).await
    }

    fn report(&self, layer: &Descriptor, status: Status) {
        self.progress.event(Event { layer: layer.digest, status });
    }

    /// Sees to it that the registry has the layer; if compressed anew, says as what.
    async fn layer(&self, layer: &Descriptor) -> Result<(Digest, Option<NewLayer>), ImageError> {
        self.report(layer, Status::Waiting);
        // The semaphores are never closed, so this never fails.
        let _slot = self.session.store().uploads.acquire().await.ok();
        if let Some((packed, status)) = self.packed_before(layer).await? {
            self.report(layer, status);
            return Ok((layer.digest, Some(packed)));
        }
        let recompressed = match self.target {
            Target::None => None,
            target => self.recompress(layer, target).await?,
        };
        let (digest, size) = recompressed.as_ref().map_or((layer.digest, layer.size), |new| (new.digest, new.size));
        let uploading = |done| self.report(layer, Status::Uploading { done, total: size });
        let status = self.blob(digest, size, &uploading).await?;
        self.report(layer, status);
        Ok((layer.digest, recompressed))
    }

    /// What the registry has of the layer, compressed as it shall be, from an earlier push.
    async fn packed_before(&self, layer: &Descriptor) -> Result<Option<(NewLayer, Status)>, ImageError> {
        for packed in self.local.packed.get(&layer.digest).into_iter().flatten() {
            let here = LayerType::parse(&layer.media_type).map(|layer| layer.compression);
            let is_wanted = here.and_then(|here| self.target.of(here)) == Some(packed.compression);
            if is_wanted && let Some(status) = self.there_already(packed.digest).await? {
                return Ok(Some((*packed, status)));
            }
        }
        Ok(None)
    }

    async fn recompress(&self, layer: &Descriptor, target: Target) -> Result<Option<NewLayer>, ImageError> {
        let (shared, label, digest) = (Arc::clone(&self.session), self.name.to_string(), layer.digest);
        let found = blocking(move || recompress::compression(shared.store(), &label, digest)).await?;
        let Some(wanted) = target.of(found) else { return Ok(None) };
        let _turn = self.one_at_a_time.acquire().await.ok();
        self.report(layer, Status::Compressing);
        let (shared, label) = (Arc::clone(&self.session), self.name.to_string());
        blocking(move || recompress::layer(&shared, &label, digest, wanted)).await.map(Some)
    }

    /// Whether the registry has the blob, or takes it from another repository of its own.
    async fn there_already(&self, digest: Digest) -> Result<Option<Status>, ImageError> {
        if self.registry.blob_exists(&self.name, digest).await? {
            return Ok(Some(Status::Exists));
        }
        let known = self.local.elsewhere.get(&digest).into_iter().flatten();
        for repository in known.take(MOUNT_ATTEMPTS) {
            if self.registry.mount_blob(&self.name, digest, repository).await? {
                return Ok(Some(Status::Mounted));
            }
        }
        Ok(None)
    }

    /// Sees to it that the registry has the blob.
    async fn blob(
        &self,
        digest: Digest,
        size: u64,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Status, ImageError> {
        if let Some(status) = self.there_already(digest).await? {
            return Ok(status);
        }
        let (shared, label) = (Arc::clone(&self.session), self.name.to_string());
        let file = blocking(move || open(shared.store(), &label, digest)).await?;
        progress(0);
        self.registry.push_blob(&self.name, digest, size, Arc::new(file), progress).await?;
        Ok(Status::Done)
    }

    async fn manifest(&self, changed: &BTreeMap<Digest, NewLayer>) -> Result<Pushed, ImageError> {
        let record = &self.local.record;
        let (text, media_type) = if changed.is_empty() {
            (self.local.text.clone(), record.media_type.clone())
        } else {
            recompress::manifest(&self.name.to_string(), &self.local.text, changed)?
        };
        let size = text.len() as u64;
        let digest = self.registry.push_manifest(&self.name, &media_type, text.into()).await?;
        let (shared, name, manifest) = (Arc::clone(&self.session), self.name.clone(), record.manifest);
        let changed = changed.clone();
        blocking(move || shared.store().set_pushed(&name, manifest, digest, &changed)).await?;
        Ok(Pushed { digest, size })
    }
}

/// Opens a blob of the image that is to be pushed.
pub(crate) fn open(store: &Inner, image: &str, blob: Digest) -> Result<File, ImageError> {
    store.content.open_blob(&blob).map_err(|error| match error {
        ContentError::NotFound { .. } => ImageError::LayerGone { image: image.to_owned(), blob },
        error => error.into(),
    })
}
