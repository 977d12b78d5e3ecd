// SPDX-License-Identifier: Apache-2.0
//! Pulling: the manifest for this platform, the configuration, the layers, and at the very end the name.

use std::collections::BTreeMap;
use std::sync::Arc;

use content::ContentError;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use oci::document::{Descriptor, Manifest};
use oci::image_spec::ImageConfiguration;
use oci::{Digest, ImageRef, Platform};
use registry_client::{Client, Manifest as Fetched, media_type};
use tokio::sync::oneshot;

use crate::document;
use crate::error::ImageError;
use crate::fetch::{self, Wanted, blocking};
use crate::progress::Progress;
use crate::records::{ImageRecord, with_digest};
use crate::references::Session;
use crate::trusted::{self, Kept};
use crate::{Deed, Image, Images};

/// An index may hold indexes; deeper than this it is a maze.
const MAX_NESTING: usize = 3;

impl Images {
    /// Pulls `name` from its registry: the build for this host, or for `platform`. What is here already is not fetched
    /// again. Dropping the future ends the pull and removes what it brought, save the beginnings of large
    /// blobs, with which a later pull goes on.
    ///
    /// # Errors
    /// [`ImageError::Untrusted`]; the registry's; [`ImageError::Platform`] for an image that has no such build; content that is not what was
    /// promised. After any of them everything is as it was before, save the same.
    pub async fn pull(
        &self,
        name: &ImageRef,
        platform: Option<Platform>,
        progress: &dyn Progress,
    ) -> Result<Image, ImageError> {
        let (session, end) = Session::begin(&self.inner);
        let session = Arc::new(session);
        let wanted = platform.unwrap_or_else(Platform::host);
        let name = name.clone().with_default_tag();
        let result = pull_into(&session, &self.registry, name.clone(), &wanted, progress).await;
        let image = ended(session, end, result).await?;
        self.inner.happened_to(&image, Deed::Pulled(name));
        Ok(image)
    }
}

/// Waits until the session's threads are done and what it leaves is removed. The first error counts.
async fn ended(
    session: Arc<Session>,
    end: oneshot::Receiver<Result<(), ImageError>>,
    result: Result<Image, ImageError>,
) -> Result<Image, ImageError> {
    // Its end may delete files.
    blocking(move || {
        drop(session);
        Ok(())
    })
    .await?;
    // The sender is in the session, which always sends: it cannot be gone silently.
    let swept = end.await.unwrap_or(Ok(()));
    let image = result?;
    swept?;
    Ok(image)
}

async fn pull_into(
    session: &Arc<Session>,
    registry: &Client,
    name: ImageRef,
    wanted: &Platform,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    let label = name.to_string();
    let shared = Arc::clone(session);
    let trust = blocking(move || shared.store().trust()).await?;
    let is_signed = trusted::wants_signature(&trust, &name)?;
    let top = registry.manifest(&name).await?;
    let source = top.digest;
    let fetched = for_platform(registry, &name, &label, top, wanted).await?;
    let manifest = document::manifest(&label, &fetched.body)?;
    // Before anything else is fetched, and before anything is stored.
    let signatures = match is_signed {
        true => trusted::verified(registry, &name, &[fetched.digest, source], trust).await?,
        false => Kept::default(),
    };
    let (config, diff_ids) = configuration(session, registry, &name, &label, &manifest, wanted).await?;
    fetch_layers(session, registry, &name, &manifest, &diff_ids, progress).await?;
    // Pulled by digest, it has no tag, whatever stands beside the digest.
    let stored_name = name.digest().and_then(|digest| with_digest(&name, digest)).unwrap_or(name);
    let shared = Arc::clone(session);
    blocking(move || {
        let store = shared.store();
        shared.pin(fetched.digest);
        store.with_room(0, || store.content.put_as(&fetched.digest, &fetched.body))?;
        let layers = manifest.layers.iter().zip(&diff_ids);
        let layers = layers.map(|(blob, diff_id)| store.layer_record(blob.digest, *diff_id));
        let layers = layers.collect::<Result<_, _>>()?;
        let described = Descriptor::new(fetched.media_type, fetched.digest, fetched.body.len() as u64);
        let record = ImageRecord::new(described, manifest.config.digest, config, layers);
        let record = ImageRecord { unpublished: false, ..record };
        store.put_image(&record, &stored_name, Some(source), signatures)?;
        store.image(record.manifest)
    })
    .await
}

/// Goes from an index to the manifest for `wanted`.
async fn for_platform(
    registry: &Client,
    name: &ImageRef,
    label: &str,
    top: Fetched,
    wanted: &Platform,
) -> Result<Fetched, ImageError> {
    let mut found = top;
    for _ in 0..MAX_NESTING {
        if !matches!(found.media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_LIST) {
            return Ok(found);
        }
        let entry = document::choose(label, &found.body, wanted)?;
        let pinned = with_digest(name, entry.digest)
            .ok_or_else(|| document::inconsistent(label, "its name cannot be asked for by digest"))?;
        found = registry.manifest(&pinned).await?;
        if found.body.len() as u64 != entry.size {
            return Err(document::inconsistent(label, "a manifest has another size than its index says"));
        }
    }
    Err(document::inconsistent(label, "its index leads to further indexes without end"))
}

/// The configuration, from here or from the registry, stored and checked.
async fn configuration(
    session: &Arc<Session>,
    registry: &Client,
    name: &ImageRef,
    label: &str,
    manifest: &Manifest,
    wanted: &Platform,
) -> Result<(ImageConfiguration, Vec<Digest>), ImageError> {
    let (digest, size) = (manifest.config.digest, manifest.config.size);
    let shared = Arc::clone(session);
    let here = blocking(move || {
        shared.pin(digest);
        let content = &shared.store().content;
        if !content.contains(&digest) {
            return Ok(None);
        }
        Ok(Some(content.read_blob(&digest, document::MAX_CONFIG)?))
    })
    .await?;
    if let Some(text) = here {
        return document::config(label, &text, manifest, wanted);
    }
    let mut blob = registry.blob(name, digest, size).await?;
    let mut text = Vec::new();
    // The stream gives no more bytes than `size`, which is bounded.
    while let Some(piece) = blob.chunk().await? {
        text.extend_from_slice(&piece);
    }
    if let Err(mismatch) = digest.matches(digest.algorithm().digest(&text)) {
        let source = Box::new(ContentError::Digest(mismatch));
        return Err(ImageError::Blob { image: label.to_owned(), digest, source });
    }
    let read = document::config(label, &text, manifest, wanted)?;
    let shared = Arc::clone(session);
    blocking(move || {
        let store = shared.store();
        Ok(store.with_room(0, || store.content.put_as(&digest, &text))?)
    })
    .await?;
    Ok(read)
}

/// Fetches all layers, the largest first: it takes longest.
async fn fetch_layers(
    session: &Arc<Session>,
    registry: &Client,
    name: &ImageRef,
    manifest: &Manifest,
    diff_ids: &[Digest],
    progress: &dyn Progress,
) -> Result<(), ImageError> {
    let mut distinct: BTreeMap<Digest, (&Descriptor, Digest)> = BTreeMap::new();
    for (blob, diff_id) in manifest.layers.iter().zip(diff_ids) {
        // One blob has one content, so one diff ID.
        let (first, known) = distinct.entry(blob.digest).or_insert((blob, *diff_id));
        if known != diff_id || first.size != blob.size {
            return Err(document::inconsistent(&name.to_string(), "one layer appears with two sizes or diff IDs"));
        }
    }
    let mut layers: Vec<_> = distinct.into_values().collect();
    layers.sort_by_key(|(blob, _)| std::cmp::Reverse(blob.size));
    let fetches = layers.into_iter().map(|(blob, diff_id)| async move {
        fetch::layer(session, &Wanted { registry, image: name, blob, diff_id, progress }).await
    });
    let mut fetches: FuturesUnordered<_> = fetches.collect();
    while let Some(result) = fetches.next().await {
        // Dropping the others ends them: their threads see the stream break off, and keep nothing.
        result?;
    }
    Ok(())
}
