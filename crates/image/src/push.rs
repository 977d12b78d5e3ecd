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
use crate::{Images, Inner};

/// Blobs uploaded at the same time, over all pushes: as many as Docker's default.
pub(crate) const PARALLEL_UPLOADS: usize = 5;
/// Repositories that are asked for one blob before it is uploaded.
const MOUNT_ATTEMPTS: usize = 3;
/// The longest manifest that registries must take (distribution-spec, "Pushing Manifests").
const MAX_MANIFEST: u64 = 4 << 20;

/// How an image is pushed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushOptions {
    /// How its layers shall be compressed in the registry. As they are here.
    pub compression: Option<Compression>,
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
        let push = Push { session, registry, name, local, progress, one_at_a_time: Semaphore::new(1) };
        push.run(options.compression).await
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
}

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
        let elsewhere = elsewhere(&view, &name, &manifest);
        Ok(Local { record: record.clone(), text, manifest, elsewhere })
    }
}

/// Where else in the registry each blob is: in every repository that one of its images was pulled from or pushed to.
fn elsewhere(view: &View, name: &ImageRef, manifest: &Manifest) -> BTreeMap<Digest, BTreeSet<String>> {
    let mut found: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    for (other, named) in &view.names {
        if other.registry() != name.registry() || same_repository(other, name) || named.source.is_none() {
            continue;
        }
        let Some(record) = view.images.get(&named.manifest) else { continue };
        let has: BTreeSet<Digest> = record.content().collect();
        for blob in manifest.layers.iter().map(|layer| layer.digest).filter(|digest| has.contains(digest)) {
            found.entry(blob).or_default().insert(other.repository().to_owned());
        }
    }
    found
}

struct Push<'a> {
    session: Arc<Session>,
    registry: Client,
    name: ImageRef,
    local: Local,
    progress: &'a dyn Progress,
    /// Compressing takes all processors as it is.
    one_at_a_time: Semaphore,
}

impl Push<'_> {
    async fn run(self, compression: Option<Compression>) -> Result<Pushed, ImageError> {
        let manifest = &self.local.manifest;
        let distinct: BTreeMap<Digest, &Descriptor> =
            manifest.layers.iter().map(|layer| (layer.digest, layer)).collect();
        let mut layers: Vec<&Descriptor> = distinct.into_values().collect();
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        let mut pushes: FuturesUnordered<_> = layers.into_iter().map(|layer| self.layer(layer, compression)).collect();
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
    async fn layer(
        &self,
        layer: &Descriptor,
        compression: Option<Compression>,
    ) -> Result<(Digest, Option<NewLayer>), ImageError> {
        self.report(layer, Status::Waiting);
        // The semaphores are never closed, so this never fails.
        let _slot = self.session.store().uploads.acquire().await.ok();
        let recompressed = match compression {
            Some(wanted) => self.recompress(layer, wanted).await?,
            None => None,
        };
        let (digest, size) = recompressed.as_ref().map_or((layer.digest, layer.size), |new| (new.digest, new.size));
        let uploading = |done| self.report(layer, Status::Uploading { done, total: size });
        let status = self.blob(digest, size, &uploading).await?;
        self.report(layer, status);
        Ok((layer.digest, recompressed))
    }

    async fn recompress(&self, layer: &Descriptor, wanted: Compression) -> Result<Option<NewLayer>, ImageError> {
        let _turn = self.one_at_a_time.acquire().await.ok();
        let (shared, label, layer_digest) = (Arc::clone(&self.session), self.name.to_string(), layer.digest);
        self.report(layer, Status::Compressing);
        blocking(move || recompress::layer(&shared, &label, layer_digest, wanted)).await
    }

    /// Sees to it that the registry has the blob.
    async fn blob(
        &self,
        digest: Digest,
        size: u64,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Status, ImageError> {
        if self.registry.blob_exists(&self.name, digest).await? {
            return Ok(Status::Exists);
        }
        let known = self.local.elsewhere.get(&digest).into_iter().flatten();
        for repository in known.take(MOUNT_ATTEMPTS) {
            if self.registry.mount_blob(&self.name, digest, repository).await? {
                return Ok(Status::Mounted);
            }
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
        blocking(move || shared.store().set_source(&name, manifest, digest)).await?;
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
