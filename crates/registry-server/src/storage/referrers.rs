// SPDX-License-Identifier: Apache-2.0
//! Referrers (distribution-spec, "Listing Referrers"): for each subject a directory with one descriptor per manifest that
//! has it, so that listing does not read the repository's other manifests.

use oci::{Digest, RepositoryName};
use serde_json::Value;

use super::{Storage, StorageError, encode};

/// The longest descriptor: its annotations come from a manifest, which has its own limit.
const MAX_DESCRIPTOR: u64 = 8 << 20;

impl Storage {
    /// The digests of all manifests that have `subject`, in order.
    pub(crate) fn referrers(&self, name: &RepositoryName, subject: &Digest) -> Result<Vec<Digest>, StorageError> {
        let path = format!("{}/referrers/{}", encode(name), subject.hex());
        let Some(directory) = self.repositories.below(&path)? else { return Ok(Vec::new()) };
        let names = directory.names()?;
        let mut all: Vec<Digest> = names.iter().filter_map(|hex| Digest::from_hex(hex).ok()).collect();
        all.sort();
        Ok(all)
    }

    /// The descriptor of a manifest that has `subject`; `None` when the repository has no such manifest (any more).
    pub(crate) fn referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<Option<Value>, StorageError> {
        if !self.has_manifest(name, referrer)? {
            return Ok(None);
        }
        let path = format!("{}/referrers/{}/{}", encode(name), subject.hex(), referrer.hex());
        let Some(bytes) = self.repositories.read(&path, MAX_DESCRIPTOR)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|_| self.repositories.damaged(&path))
    }

    /// Notes a referrer. The caller holds the repository's lock, and makes the manifest visible afterwards.
    pub(super) fn write_referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
        descriptor: &[u8],
    ) -> Result<(), StorageError> {
        let repository = self.repositories.make(&encode(name))?;
        let directory = repository.make("referrers")?.make(&subject.hex())?;
        directory.replace(&self.scratch, &referrer.hex(), descriptor)
    }

    /// Forgets a referrer. The caller holds the repository's lock.
    pub(super) fn remove_referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), StorageError> {
        let Some(all) = self.repositories.below(&format!("{}/referrers", encode(name)))? else { return Ok(()) };
        let Some(directory) = all.below(&subject.hex())? else { return Ok(()) };
        directory.remove(&referrer.hex())?;
        if directory.names()?.is_empty() {
            all.remove_directory(&subject.hex())?;
        }
        Ok(())
    }
}
