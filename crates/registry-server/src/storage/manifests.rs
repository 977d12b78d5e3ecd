// SPDX-License-Identifier: Apache-2.0
//! Manifests: their bytes are blobs, their media type and what they refer to a record in the repository.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use content::ContentError;
use oci::{Digest, RepositoryName, Tag};
use serde::{Deserialize, Serialize};

use crate::manifest::{MAX_MANIFEST, Pushed};

use super::tags::{Origin, TagTarget};
use super::{Storage, StorageError, encode, held};

/// The longest record: the references of the longest manifest.
const MAX_RECORD: u64 = 8 << 20;
/// What a manifest costs in memory besides its bytes.
const OVERHEAD: usize = 512;

/// A manifest that a repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredManifest {
    /// The digest of `body`.
    pub(crate) digest: Digest,
    /// As it was pushed.
    pub(crate) media_type: String,
    /// Byte for byte as it was pushed.
    pub(crate) body: Bytes,
}

/// What a repository remembers of a manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    media_type: String,
    /// What it needs, with the bytes of each: configuration, layers, manifests. Collection keeps these.
    references: Vec<(Digest, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
}

/// Why a manifest is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    /// It refers to what the repository does not have.
    #[error("the repository does not have {} blob(s) or manifest(s) that the manifest refers to", .0.len())]
    Missing(Vec<Digest>),
    /// It gives a size that is not the blob's.
    #[error("the manifest says that {digest} has {said} bytes; it has {found}")]
    Size {
        /// The blob or manifest.
        digest: Digest,
        /// Bytes, as the manifest says.
        said: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Storage {
    /// The manifest, if it is in memory.
    pub(crate) fn cached_manifest(&self, name: &RepositoryName, digest: &Digest) -> Option<Arc<StoredManifest>> {
        held(&self.manifests).get(&(name.clone(), *digest))
    }

    /// A manifest that the repository has.
    pub(crate) fn manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Arc<StoredManifest>>, StorageError> {
        if let Some(manifest) = self.cached_manifest(name, digest) {
            return Ok(Some(manifest));
        }
        // Nobody removes the manifest between the look at the disk and the note in memory.
        let _reading = self.lock_of(name).read().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = self.record(name, digest)? else { return Ok(None) };
        let body = match self.content.read_blob(digest, MAX_MANIFEST as u64) {
            Ok(body) => body.into(),
            Err(ContentError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let manifest = Arc::new(StoredManifest { digest: *digest, media_type: record.media_type, body });
        self.remember(name, &manifest);
        Ok(Some(manifest))
    }

    /// Whether the repository has this manifest.
    pub(crate) fn has_manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        Ok(self.repositories.modified(&record_path(name, digest))?.is_some())
    }

    /// Takes a manifest of which the repository has all that it refers to, and lets `tags` stand for it.
    pub(crate) fn put_manifest(&self, name: &RepositoryName, pushed: &Pushed, tags: &[Tag]) -> Result<(), PutError> {
        let _writing = self.lock_of(name).write().unwrap_or_else(PoisonError::into_inner);
        self.check_references(name, pushed)?;
        Ok(self.write_manifest(name, pushed, tags, Origin::Pushed)?)
    }

    /// Takes a manifest whatever it refers to: a cache fetches the rest when it is asked for. Tags that stand for what was
    /// pushed here go on doing so.
    pub(crate) fn keep_manifest(
        &self,
        name: &RepositoryName,
        pushed: &Pushed,
        tags: &[Tag],
    ) -> Result<(), StorageError> {
        let _writing = self.lock_of(name).write().unwrap_or_else(PoisonError::into_inner);
        self.write_manifest(name, pushed, tags, Origin::Upstream)
    }

    /// The bytes of a blob that one of the repository's manifests refers to, as that says it.
    pub(crate) fn referred_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, StorageError> {
        let Some(manifests) = self.repositories.below(&format!("{}/manifests", encode(name)))? else { return Ok(None) };
        for hex in manifests.names()? {
            let Ok(manifest) = Digest::from_hex(&hex) else { continue };
            let Some(record) = self.record(name, &manifest)? else { continue };
            if let Some((_, size)) = record.references.iter().find(|(found, _)| found == digest) {
                return Ok(Some(*size));
            }
        }
        Ok(None)
    }

    /// The caller holds the repository's lock.
    fn write_manifest(
        &self,
        name: &RepositoryName,
        pushed: &Pushed,
        tags: &[Tag],
        origin: Origin,
    ) -> Result<(), StorageError> {
        let digest = pushed.digest;
        let _pin = self.pins.pin(digest);
        self.link_shared(&digest)?;
        self.content.put_as(&digest, &pushed.body)?;
        if let Some(subject) = &pushed.subject {
            self.write_referrer(name, subject, &digest, &pushed.descriptor())?;
        }
        let record = Record {
            media_type: pushed.media_type.clone(),
            references: pushed.references.iter().map(|reference| (reference.digest, reference.size)).collect(),
            subject: pushed.subject,
        };
        let manifests = self.repositories.make(&encode(name))?.make("manifests")?;
        // A structure of strings is always JSON.
        let record = serde_json::to_vec(&record).unwrap_or_default();
        manifests.replace(&self.scratch, &digest.hex(), &record)?;
        let manifest = StoredManifest { digest, media_type: pushed.media_type.clone(), body: pushed.body.clone() };
        self.remember(name, &Arc::new(manifest));
        for tag in tags {
            self.write_tag(name, tag, TagTarget { digest, origin })?;
        }
        Ok(())
    }

    /// Removes a manifest and every tag that stands for it. Says whether the repository had it.
    pub(crate) fn delete_manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        let _writing = self.lock_of(name).write().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = self.record(name, digest)? else { return Ok(false) };
        self.remove_tags_of(name, digest)?;
        if let Some(manifests) = self.repositories.below(&format!("{}/manifests", encode(name)))? {
            manifests.remove(&digest.hex())?;
        }
        held(&self.manifests).remove(&(name.clone(), *digest));
        if let Some(subject) = &record.subject {
            self.remove_referrer(name, subject, digest)?;
        }
        Ok(true)
    }

    fn check_references(&self, name: &RepositoryName, pushed: &Pushed) -> Result<(), PutError> {
        let mut missing = Vec::new();
        let mut known: HashMap<Digest, u64> = HashMap::new();
        for reference in pushed.references.iter().filter(|reference| reference.required) {
            let digest = reference.digest;
            let size = match known.get(&digest) {
                Some(size) => Some(*size),
                None => self.referable_size(name, &digest)?,
            };
            match size {
                None => missing.push(digest),
                Some(found) if found != reference.size => {
                    return Err(PutError::Size { digest, said: reference.size, found });
                }
                Some(found) => drop(known.insert(digest, found)),
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(PutError::Missing(missing)) }
    }

    /// The size in bytes of a blob or manifest that the repository has.
    fn referable_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, StorageError> {
        let is_blob = self.repositories.modified(&blob_or(name, "blobs", digest))?.is_some();
        if is_blob || self.has_manifest(name, digest)? { self.content_size(digest) } else { Ok(None) }
    }

    pub(super) fn record(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Record>, StorageError> {
        let path = record_path(name, digest);
        let Some(bytes) = self.repositories.read(&path, MAX_RECORD)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|_| self.repositories.damaged(&path))
    }

    fn remember(&self, name: &RepositoryName, manifest: &Arc<StoredManifest>) {
        let cost = manifest.body.len() + manifest.media_type.len() + OVERHEAD;
        held(&self.manifests).insert((name.clone(), manifest.digest), Arc::clone(manifest), cost);
    }
}

impl Record {
    /// What the manifest needs.
    pub(super) fn references(&self) -> impl Iterator<Item = Digest> {
        self.references.iter().map(|(digest, _)| *digest)
    }
}

fn record_path(name: &RepositoryName, digest: &Digest) -> String {
    blob_or(name, "manifests", digest)
}

fn blob_or(name: &RepositoryName, kind: &str, digest: &Digest) -> String {
    format!("{}/{kind}/{}", encode(name), digest.hex())
}
