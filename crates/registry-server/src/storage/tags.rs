// SPDX-License-Identifier: Apache-2.0
//! Tags: one small file each, which holds a digest and, in a cache, where it came from.

use std::sync::PoisonError;

use oci::{Digest, RepositoryName, Tag};

use super::{Storage, StorageError, encode, held};

/// Where a tag came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody pushed it here.
    Pushed,
    /// The registry behind this one had it.
    Upstream,
}

/// What a tag stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TagTarget {
    pub(crate) digest: Digest,
    pub(crate) origin: Origin,
}

/// What follows the digest of a tag that came from the registry behind this one.
const UPSTREAM: &str = " upstream";
/// A digest is 135 bytes at most.
const MAX_TAG_FILE: u64 = 256;

impl Storage {
    /// All tags of the repository, in the order of their bytes; `None` without such a repository.
    pub(crate) fn tags(&self, name: &RepositoryName) -> Result<Option<Vec<Tag>>, StorageError> {
        let Some(repository) = self.repositories.below(&encode(name))? else { return Ok(None) };
        let Some(tags) = repository.below("tags")? else { return Ok(Some(Vec::new())) };
        let mut all: Vec<Tag> = tags.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        all.sort();
        Ok(Some(all))
    }

    /// What a tag stands for, if memory knows it.
    pub(crate) fn cached_tag(&self, name: &RepositoryName, tag: &Tag) -> Option<TagTarget> {
        held(&self.tags).get(&(name.clone(), tag.clone()))
    }

    /// What a tag stands for.
    pub(crate) fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<TagTarget>, StorageError> {
        if let Some(target) = self.cached_tag(name, tag) {
            return Ok(Some(target));
        }
        // Nobody changes the tag between the look at the disk and the note in memory.
        let _reading = self.lock_of(name).read().unwrap_or_else(PoisonError::into_inner);
        let target = self.read_tag(name, tag)?;
        if let Some(target) = target {
            held(&self.tags).insert((name.clone(), tag.clone()), target, 1);
        }
        Ok(target)
    }

    /// Removes a tag. Says whether it was there.
    pub(crate) fn delete_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, StorageError> {
        let _writing = self.lock_of(name).write().unwrap_or_else(PoisonError::into_inner);
        self.remove_tag(name, tag)
    }

    /// Lets a tag stand for a manifest that the repository has. The caller holds the repository's lock.
    pub(super) fn write_tag(&self, name: &RepositoryName, tag: &Tag, target: TagTarget) -> Result<(), StorageError> {
        if target.origin == Origin::Upstream
            && self.read_tag(name, tag)?.is_some_and(|before| before.origin == Origin::Pushed)
        {
            return Ok(());
        }
        let suffix = if target.origin == Origin::Upstream { UPSTREAM } else { "" };
        let tags = self.repositories.make(&encode(name))?.make("tags")?;
        tags.replace(&self.scratch, tag.as_str(), format!("{}{suffix}", target.digest).as_bytes())?;
        held(&self.tags).insert((name.clone(), tag.clone()), target, 1);
        Ok(())
    }

    /// Removes every tag that stands for `digest`. The caller holds the repository's lock.
    pub(super) fn remove_tags_of(&self, name: &RepositoryName, digest: &Digest) -> Result<(), StorageError> {
        for tag in self.tags(name)?.unwrap_or_default() {
            if self.read_tag(name, &tag)?.is_some_and(|target| target.digest == *digest) {
                self.remove_tag(name, &tag)?;
            }
        }
        Ok(())
    }

    fn remove_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, StorageError> {
        let Some(tags) = self.repositories.below(&format!("{}/tags", encode(name)))? else { return Ok(false) };
        let removed = tags.remove(tag.as_str());
        held(&self.tags).remove(&(name.clone(), tag.clone()));
        removed
    }

    fn read_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<TagTarget>, StorageError> {
        let path = format!("{}/tags/{tag}", encode(name));
        let Some(bytes) = self.repositories.read(&path, MAX_TAG_FILE)? else { return Ok(None) };
        let target = std::str::from_utf8(&bytes).ok().and_then(|text| {
            let upstream = text.strip_suffix(UPSTREAM);
            let origin = if upstream.is_some() { Origin::Upstream } else { Origin::Pushed };
            Some(TagTarget { digest: upstream.unwrap_or(text).parse().ok()?, origin })
        });
        target.map(Some).ok_or_else(|| self.repositories.damaged(&path))
    }
}
