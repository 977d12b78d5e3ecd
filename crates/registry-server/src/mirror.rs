// SPDX-License-Identifier: Apache-2.0
//! The pull-through cache: what is not here is fetched from another registry, handed to the client as it comes, and kept.
//! It comes as fast as that registry gives it; its client reads what has come, from the disk, as fast as it can.
//!
//! What was pushed here is never replaced by what lies there under the same tag. A tag that came from there is asked for
//! again after a minute; when nobody answers, what was kept is as good as it gets.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use content::BlobWriter;
use errors::{Classify, Kind, chain};
use oci::{Digest, ImageRef, RepositoryName, Tag};
use registry_client::{Client, RegistryError};
use tokio::sync::{mpsc, watch};

use crate::http::ManifestReference;
use crate::manifest::{ManifestError, Pushed};
use crate::registry::Registry;
use crate::storage::{Lru, Storage, StorageError, StoredManifest, held};

/// How long a tag from there is believed.
const FRESH: Duration = Duration::from_secs(60);
/// Tags of which it is known when they were asked for.
const MOST_TAGS: usize = 1 << 14;
/// Bytes read of a blob that comes at once, and how many such chunks wait for a slow client.
const CHUNK: u64 = 64 << 10;
const WAITING: usize = 2;

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
        // Never closed.
        let place = Arc::clone(&registry.fetches).acquire_owned().await.map_err(|_| UpstreamError::Worker)?;
        let (to_client, chunks) = mpsc::channel(WAITING);
        let (storage, repository) = (Arc::clone(&registry.storage), name.clone());
        let here = tokio::task::spawn_blocking(move || storage.open_blob(&repository, &digest));
        if let Some((file, size)) = here.await.map_err(|_| UpstreamError::Worker)?? {
            // It came for somebody else meanwhile.
            tokio::spawn(feed(file, size, watch::channel(Come::All).1, to_client));
            return Ok(Some(chunks));
        }
        let blob = match self.client.blob(&image, digest, size).await {
            Ok(blob) => blob,
            Err(RegistryError::BlobNotFound { .. }) => return Ok(None),
            Err(error) => return Err(UpstreamError::Registry(error)),
        };
        let size = blob.size();
        let writer = registry.storage.writer(digest, size)?;
        let file = writer.reader().map_err(StorageError::from)?.into_inner();
        let (progress, come) = watch::channel(Come::Bytes(0));
        tokio::spawn(feed(file, size, come, to_client));
        let (storage, name) = (Arc::clone(&registry.storage), name.clone());
        tokio::spawn(async move {
            let last = match keep(storage, &name, digest, blob, writer, &progress).await {
                Ok(()) => Come::All,
                Err(error) => {
                    tracing::warn!(%digest, error = chain(&error), "a blob does not come from the registry behind this one");
                    Come::Never
                }
            };
            progress.send_replace(last);
            drop(place);
        });
        Ok(Some(chunks))
    }

    fn image(&self, name: &RepositoryName, suffix: &str) -> Option<ImageRef> {
        format!("{}/{name}{suffix}", self.registry).parse().ok()
    }
}

/// How much of a blob has come.
#[derive(Debug, Clone, Copy)]
enum Come {
    /// So many bytes; whether they are the right ones shows at the end.
    Bytes(u64),
    /// All of it, and its digest matched.
    All,
    /// No more will, or it was another's.
    Never,
}

/// Writes the blob, and says how much is there.
async fn keep(
    storage: Arc<Storage>,
    name: &RepositoryName,
    digest: Digest,
    mut blob: registry_client::Blob,
    mut writer: BlobWriter,
    progress: &watch::Sender<Come>,
) -> Result<(), UpstreamError> {
    while let Some(chunk) = blob.chunk().await.map_err(UpstreamError::Registry)? {
        let written = tokio::task::spawn_blocking(move || writer.append(&chunk).map(|()| writer));
        writer = written.await.map_err(|_| UpstreamError::Worker)?.map_err(StorageError::from)?;
        progress.send_replace(Come::Bytes(writer.written()));
    }
    let name = name.clone();
    let kept = tokio::task::spawn_blocking(move || storage.keep_blob(&name, digest, writer));
    Ok(kept.await.map_err(|_| UpstreamError::Worker)??)
}

/// Gives the client what has come of a blob of `size` bytes into `file`: its last byte only when all of it is right. A client
/// that is slow holds up nobody, and one that is gone ends it.
async fn feed(file: File, size: u64, mut come: watch::Receiver<Come>, to_client: mpsc::Sender<io::Result<Bytes>>) {
    let (file, mut at) = (Arc::new(file), 0);
    while at < size {
        let may_have = |come: &Come| match come {
            Come::Bytes(bytes) => (*bytes).min(size - 1),
            Come::All => size,
            Come::Never => u64::MAX,
        };
        let until = match come.wait_for(|come| may_have(come) > at).await.map(|come| may_have(&come)) {
            Ok(until) if until <= size => until,
            // The fetch has said why.
            _ => return drop(to_client.send(Err(io::ErrorKind::UnexpectedEof.into())).await),
        };
        // At most a chunk, which fits.
        let count = (until - at).min(CHUNK) as usize;
        let file = Arc::clone(&file);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; count];
            file.read_exact_at(&mut bytes, at).map(|()| Bytes::from(bytes))
        });
        let chunk = read.await.map_err(io::Error::other).and_then(|result| result);
        let is_good = chunk.is_ok();
        if to_client.send(chunk).await.is_err() || !is_good {
            return;
        }
        at += count as u64;
    }
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
