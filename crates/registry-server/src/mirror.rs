// SPDX-License-Identifier: Apache-2.0
//! The pull-through cache: what is not here is fetched from another registry, handed to the client as it comes, and kept.
//!
//! What was pushed here is never replaced by what lies there under the same tag. A tag that came from there is asked for
//! again after a minute; when nobody answers, what was kept is as good as it gets.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use errors::{Classify, Kind, chain};
use oci::{Digest, ImageRef, RepositoryName, Tag};
use registry_client::{Client, RegistryError};
use tokio::sync::{Semaphore, mpsc};

use crate::http::ManifestReference;
use crate::manifest::{ManifestError, Pushed};
use crate::registry::Registry;
use crate::storage::{Lru, StorageError, StoredManifest, held};

/// How long a tag from there is believed.
const FRESH: Duration = Duration::from_secs(60);
/// Tags of which it is known when they were asked for.
const MOST_TAGS: usize = 1 << 14;
/// Blobs fetched at once: a fetch goes on when its client leaves, so clients must not be able to begin any number.
const MOST_FETCHES: usize = 32;
/// Chunks that wait for a slow client.
const WAITING: usize = 8;

/// An address that is no registry's.
#[derive(Debug, thiserror::Error)]
#[error("{address:?} is not a registry: expected HOST, HOST:PORT, or the same after http:// or https://")]
pub struct MirrorError {
    /// What was given.
    address: String,
}

impl Classify for MirrorError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

/// Another registry, whose content this one keeps copies of.
#[derive(Debug)]
pub struct Mirror {
    client: Client,
    registry: String,
    asked: Mutex<Lru<(RepositoryName, Tag), Instant>>,
    fetches: Arc<Semaphore>,
}

/// What the other registry says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("the registry behind this one does not give it")]
    Registry(#[source] RegistryError),
    #[error("what the registry behind this one gives is not understood")]
    Manifest(#[source] ManifestError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the work was not finished")]
    Worker,
}

impl Mirror {
    /// A cache of the registry at `address`: `HOST[:PORT]`, perhaps after a scheme. `http://` allows plain HTTP.
    ///
    /// # Errors
    /// It is not an address of that form.
    pub fn of(address: &str, mut options: registry_client::Options) -> Result<Mirror, MirrorError> {
        let plain = address.strip_prefix("http://");
        let registry = plain.or_else(|| address.strip_prefix("https://")).unwrap_or(address).trim_end_matches('/');
        // A name without a dot or port would be read as a repository of Docker's registry.
        let parsed = format!("{registry}/name").parse::<ImageRef>().ok().filter(|name| name.registry() == registry);
        if parsed.is_none() {
            return Err(MirrorError { address: address.to_owned() });
        }
        if plain.is_some() {
            options.insecure_registries.push(registry.to_owned());
        }
        Ok(Mirror {
            client: Client::new(options),
            registry: registry.to_owned(),
            asked: Mutex::new(Lru::new(MOST_TAGS)),
            fetches: Arc::new(Semaphore::new(MOST_FETCHES)),
        })
    }

    /// Whether a tag was asked for so lately that it need not be again.
    pub(crate) fn is_fresh(&self, name: &RepositoryName, tag: &Tag) -> bool {
        held(&self.asked).get(&(name.clone(), tag.clone())).is_some_and(|asked| asked.elapsed() < FRESH)
    }

    /// The manifest with this tag or digest there, which is kept here from now on; `None` when there is none.
    pub(crate) async fn manifest(
        &self,
        registry: &Arc<Registry>,
        name: &RepositoryName,
        reference: &ManifestReference,
    ) -> Result<Option<Arc<StoredManifest>>, UpstreamError> {
        let (suffix, tag) = match reference {
            ManifestReference::Tag(tag) => (format!(":{tag}"), Some(tag.clone())),
            ManifestReference::Digest(digest) => (format!("@{digest}"), None),
        };
        let Some(image) = self.image(name, &suffix) else { return Ok(None) };
        let found = match self.client.manifest(&image).await {
            Ok(found) => found,
            Err(RegistryError::ImageNotFound { .. }) => return Ok(None),
            Err(error) => return Err(UpstreamError::Registry(error)),
        };
        let pushed = Pushed::read(Some(&found.media_type), found.body, found.digest.algorithm())
            .map_err(UpstreamError::Manifest)?;
        let manifest =
            StoredManifest { digest: pushed.digest, media_type: pushed.media_type.clone(), body: pushed.body.clone() };
        let (storage, to, tags) = (Arc::clone(&registry.storage), name.clone(), Vec::from_iter(tag.clone()));
        let kept = tokio::task::spawn_blocking(move || storage.keep_manifest(&to, &pushed, &tags));
        kept.await.map_err(|_| UpstreamError::Worker)??;
        if let Some(tag) = tag {
            held(&self.asked).insert((name.clone(), tag), Instant::now(), 1);
        }
        Ok(Some(manifest.into()))
    }

    /// The blob there, of `size` bytes, as it comes. It is kept here when all of it has come and its digest matched, also
    /// when the client leaves before; the client has its last bytes only then.
    pub(crate) async fn blob(
        &self,
        registry: &Arc<Registry>,
        name: &RepositoryName,
        digest: Digest,
        size: u64,
    ) -> Result<Option<mpsc::Receiver<io::Result<Bytes>>>, UpstreamError> {
        let Some(image) = self.image(name, "") else { return Ok(None) };
        let place = Arc::clone(&self.fetches).acquire_owned().await;
        let blob = match self.client.blob(&image, digest, size).await {
            Ok(blob) => blob,
            Err(RegistryError::BlobNotFound { .. }) => return Ok(None),
            Err(error) => return Err(UpstreamError::Registry(error)),
        };
        let (to_client, chunks) = mpsc::channel(WAITING);
        let (registry, name) = (Arc::clone(registry), name.clone());
        tokio::spawn(async move {
            match keep(&registry, &name, digest, blob, &to_client).await {
                // Who has left needs no last bytes.
                Ok(last) => drop(to_client.send(Ok(last)).await),
                Err(error) => {
                    tracing::warn!(%digest, error = chain(&error), "a blob does not come from the registry behind this one");
                    drop(to_client.send(Err(io::Error::other(error))).await);
                }
            }
            drop(place);
        });
        Ok(Some(chunks))
    }

    fn image(&self, name: &RepositoryName, suffix: &str) -> Option<ImageRef> {
        format!("{}/{name}{suffix}", self.registry).parse().ok()
    }
}

/// Writes the blob while its client reads it. Gives the last chunk, which the client has not had.
async fn keep(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    digest: Digest,
    mut blob: registry_client::Blob,
    to_client: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<Bytes, UpstreamError> {
    let mut writer = registry.storage.writer(digest, blob.size())?;
    let mut last = Bytes::new();
    while let Some(chunk) = blob.chunk().await.map_err(UpstreamError::Registry)? {
        let bytes = chunk.clone();
        let written = tokio::task::spawn_blocking(move || writer.append(&bytes).map(|()| writer));
        writer = written.await.map_err(|_| UpstreamError::Worker)?.map_err(StorageError::from)?;
        let before = std::mem::replace(&mut last, chunk);
        if !before.is_empty() {
            // A client that is gone does not stop it: the next one will want the same.
            drop(to_client.send(Ok(before)).await);
        }
    }
    let (storage, name) = (Arc::clone(&registry.storage), name.clone());
    let kept = tokio::task::spawn_blocking(move || storage.keep_blob(&name, digest, writer));
    kept.await.map_err(|_| UpstreamError::Worker)??;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host() {
        let of = |address: &str| Mirror::of(address, registry_client::Options::default());
        assert_eq!(of("https://registry.example/").unwrap().registry, "registry.example");
        assert_eq!(of("http://10.0.0.1:5000").unwrap().registry, "10.0.0.1:5000");
        assert_eq!(of("docker.io").unwrap().registry, "docker.io");
        for bad in ["", "registry", "https://a.b/path", "ftp://a.b", "a.b c"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
