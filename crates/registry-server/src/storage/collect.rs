// SPDX-License-Identifier: Apache-2.0
//! Garbage collection, while the registry serves: blobs that no manifest refers to go, after a time of grace in which
//! their manifest may still come; then repositories with nothing in them, and the content that no repository names.
//! Manifests go only when somebody deletes them.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use oci::{Digest, RepositoryName};

use super::directory::Directory;
use super::{Storage, StorageError, encode};

/// What a repository's directory holds.
const KINDS: [&str; 4] = ["blobs", "manifests", "referrers", "tags"];

/// What a collection took away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Collected {
    /// Blobs that a repository does not have any more.
    pub(crate) marks: usize,
    /// Blobs and manifests whose bytes are gone.
    pub(crate) blobs: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Repositories in which nothing was left.
    pub(crate) repositories: usize,
}

/// Whether a repository has neither a manifest nor a tag nor a blob. Whatever else somebody put there keeps it.
fn is_empty(repository: &Directory) -> Result<bool, StorageError> {
    for kind in repository.names()? {
        if !KINDS.contains(&kind.as_str()) {
            return Ok(false);
        }
        // Entries of referrers stand for nothing without their manifests.
        if kind != "referrers"
            && let Some(directory) = repository.below(&kind)?
            && !directory.names()?.is_empty()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Storage {
    /// Collects once. `grace` is how long a blob may be without a manifest. Nothing of a repository is taken that cannot
    /// be read: an error ends the collection.
    pub(crate) fn collect(&self, grace: Duration) -> Result<Collected, StorageError> {
        let collecting = self.pins.collect();
        let mut collected = Collected::default();
        let mut named = HashSet::new();
        for name in self.repositories()? {
            self.collect_repository(&name, grace, &mut named, &mut collected)?;
        }
        for (digest, size) in self.content.blobs()? {
            if named.contains(&digest) {
                continue;
            }
            if let Some(removed) = collecting.unless_pinned(&digest, || self.content.remove(&digest))
                && removed?
            {
                collected.blobs += 1;
                collected.bytes += size;
            }
        }
        Ok(collected)
    }

    /// Takes a repository's unused marks, and adds what it names after that.
    fn collect_repository(
        &self,
        name: &RepositoryName,
        grace: Duration,
        named: &mut HashSet<Digest>,
        collected: &mut Collected,
    ) -> Result<(), StorageError> {
        // No manifest comes while its blobs are judged.
        let _writing = self.lock_of(name).write().unwrap_or_else(PoisonError::into_inner);
        let Some(repository) = self.repositories.below(&encode(name))? else { return Ok(()) };
        let digests =
            |names: Vec<String>| -> Vec<Digest> { names.iter().filter_map(|hex| Digest::from_hex(hex).ok()).collect() };
        let mut used = HashSet::new();
        if let Some(manifests) = repository.below("manifests")? {
            for manifest in digests(manifests.names()?) {
                let Some(record) = self.record(name, &manifest)? else { continue };
                used.extend(record.references());
                named.insert(manifest);
            }
        }
        let now = SystemTime::now();
        if let Some(blobs) = repository.below("blobs")? {
            for blob in digests(blobs.names()?) {
                let Some(marked) = blobs.modified(&blob.hex())? else { continue };
                let is_young = now.duration_since(marked).map_or(true, |age| age < grace);
                if used.contains(&blob) || is_young {
                    named.insert(blob);
                } else if blobs.remove(&blob.hex())? {
                    collected.marks += 1;
                }
            }
        }
        if is_empty(&repository)? {
            self.remove_repository(name, &repository)?;
            collected.repositories += 1;
        }
        Ok(())
    }

    /// Removes a repository that has nothing: it is in no list any more. The caller holds its lock.
    fn remove_repository(&self, name: &RepositoryName, repository: &Directory) -> Result<(), StorageError> {
        if let Some(referrers) = repository.below("referrers")? {
            // Entries that a crash left: their manifests never came.
            for subject in referrers.names()? {
                referrers.remove_directory(&subject)?;
            }
        }
        for kind in repository.names()? {
            repository.remove_directory(&kind)?;
        }
        self.repositories.remove_directory(&encode(name))
    }
}
