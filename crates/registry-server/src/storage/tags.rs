// SPDX-License-Identifier: Apache-2.0
//! Tags: one small file each, which holds a digest.

use std::sync::PoisonError;

use oci::{Digest, RepositoryName, Tag};

use super::{Storage, StorageError, encode, held};

/// A digest is 71 bytes.
const MAX_TAG_FILE: u64 = 128;

impl Storage {
    /// All tags of the repository, in the order of their bytes; `None` without such a repository.
    pub(crate) fn tags(&self, name: &RepositoryName) -> Result<Option<Vec<Tag>>, StorageError> {
        let Some(repository) = self.repositories.below(&encode(name))? else { return Ok(None) };
        let Some(tags) = repository.below("tags")? else { return Ok(Some(Vec::new())) };
        let mut all: Vec<Tag> = tags.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        all.sort();
        Ok(Some(all))
    }

    /// The digest that a tag stands for, if memory knows it.
    pub(crate) fn cached_tag(&self, name: &RepositoryName, tag: &Tag) -> Option<Digest> {
        held(&self.tags).get(&(name.clone(), tag.clone()))
    }

    /// The digest that a tag stands for.
    pub(crate) fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, StorageError> {
        if let Some(digest) = self.cached_tag(name, tag) {
            return Ok(Some(digest));
        }
        // Nobody changes the tag between the look at the disk and the note in memory.
        let _reading = self.lock_of(name).read().unwrap_or_else(PoisonError::into_inner);
        let digest = self.read_tag(name, tag)?;
        if let Some(digest) = digest {
            held(&self.tags).insert((name.clone(), tag.clone()), digest, 1);
        }
        Ok(digest)
    }

    /// Removes a tag. Says whether it was there.
    pub(crate) fn delete_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, StorageError> {
        let _writing = self.lock_of(name).write().unwrap_or_else(PoisonError::into_inner);
        self.remove_tag(name, tag)
    }

    /// Lets a tag stand for a manifest that the repository has. The caller holds the repository's lock.
    pub(super) fn write_tag(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), StorageError> {
        let tags = self.repositories.make(&encode(name))?.make("tags")?;
        tags.replace(&self.scratch, tag.as_str(), digest.to_string().as_bytes())?;
        held(&self.tags).insert((name.clone(), tag.clone()), *digest, 1);
        Ok(())
    }

    /// Removes every tag that stands for `digest`. The caller holds the repository's lock.
    pub(super) fn remove_tags_of(&self, name: &RepositoryName, digest: &Digest) -> Result<(), StorageError> {
        for tag in self.tags(name)?.unwrap_or_default() {
            if self.read_tag(name, &tag)? == Some(*digest) {
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

    fn read_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, StorageError> {
        let path = format!("{}/tags/{tag}", encode(name));
        let Some(bytes) = self.repositories.read(&path, MAX_TAG_FILE)? else { return Ok(None) };
        let digest = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        digest.map(Some).ok_or_else(|| self.repositories.damaged(&path))
    }
}
