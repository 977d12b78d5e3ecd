// SPDX-License-Identifier: Apache-2.0
//! Removal, by Docker's rules: a name goes alone, the last name takes the image along, and a container in its way is
//! named.

use std::collections::BTreeSet;

use metadata::Durability;
use oci::{Digest, ImageRef};

use crate::error::ImageError;
use crate::records::{Found, NAMES, View, forget_image};
use crate::references::Users;
use crate::{Images, embedded};

/// A container that needs an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// Its name, or its id.
    pub container: String,
    /// Whether it runs (or is paused).
    pub running: bool,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// This name means nothing any more.
    Untagged(ImageRef),
    /// The image with this id is gone.
    Deleted(Digest),
}

/// What is to go, decided before anything does.
struct Plan {
    names: Vec<ImageRef>,
    manifests: Vec<Digest>,
}

impl Images {
    /// Removes the name `name`, and with an image's last name the image; or, where `name` is an id, the image with all
    /// its names. `in_use` says which container needs the image with an id, a running one first.
    ///
    /// A running container keeps its image whatever `force` says. With `force` an image that stopped containers need
    /// loses its names only, and an image with several names may be removed by its id. An image under a lease loses its
    /// names only, with or without it.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::InUse`], [`ImageError::SeveralNames`], and [`ImageError::Leased`] for an
    /// image that has no name to lose; nothing is removed then.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        in_use: &dyn Fn(&Digest) -> Option<ImageUser>,
    ) -> Result<Vec<Removed>, ImageError> {
        let inner = &self.inner;
        let pins = inner.references.lock();
        let users = inner.users(in_use);
        let view = inner.view()?;
        let plan = plan(&view, name, force, &users)?;
        let gone: Vec<_> = plan.manifests.iter().filter_map(|manifest| view.images.get(manifest)).collect();
        inner.metadata.write(Durability::Synced, |tx| {
            for name in &plan.names {
                tx.delete(NAMES, &name.canonical())?;
            }
            for record in &gone {
                forget_image(tx, &record.manifest)?;
                embedded::forget(tx, record.manifest)?;
            }
            Ok::<(), ImageError>(())
        })?;
        drop(users);
        let record_of = |name: &ImageRef| {
            let (_, record) = view.names.iter().find(|(known, _)| known == name)?;
            view.images.get(&record.manifest)
        };
        // Whatever the sweeping says: nobody can use them any more.
        inner.removed(plan.names.iter().filter_map(record_of), gone.iter().copied());
        inner.index_and_sweep(&pins, gone.iter().flat_map(|record| record.content()).collect())?;
        let mut removed: Vec<Removed> = plan.names.into_iter().map(Removed::Untagged).collect();
        let ids: BTreeSet<Digest> = gone.iter().map(|record| record.id).collect();
        removed.extend(ids.into_iter().map(Removed::Deleted));
        Ok(removed)
    }
}

fn plan(view: &View, text: &str, force: bool, users: &Users<'_>) -> Result<Plan, ImageError> {
    let names_of = |manifests: &[Digest]| -> Vec<ImageRef> {
        let own = view.names.iter().filter(|(_, record)| manifests.contains(&record.manifest));
        own.map(|(name, _)| name.clone()).collect()
    };
    let (id, manifests, names) = match view.matches(text)? {
        Found::Name(name, manifest) => {
            let all = names_of(&[manifest]);
            let gone = going_with(&name, &all);
            if gone.len() < all.len() {
                return Ok(Plan { names: gone, manifests: Vec::new() });
            }
            let id = view.images.get(&manifest).map(|record| record.id);
            (id.ok_or_else(|| ImageError::NotFound { name: text.to_owned() })?, vec![manifest], all)
        }
        Found::Id(id) => {
            let manifests = view.manifests_of(id);
            let names = names_of(&manifests);
            let tags = names.iter().filter(|name| name.tag().is_some()).count();
            if tags > 1 && !force {
                return Err(ImageError::SeveralNames { image: text.to_owned(), count: tags });
            }
            (id, manifests, names)
        }
    };
    match users.of(&id) {
        // What a lease protects stays, without a name.
        None if manifests.iter().any(|manifest| view.leased.images.contains(manifest)) => {
            if names.is_empty() {
                return Err(ImageError::Leased { image: text.to_owned() });
            }
            let manifests = manifests.into_iter().filter(|manifest| !view.leased.images.contains(manifest)).collect();
            Ok(Plan { names, manifests })
        }
        None => Ok(Plan { names, manifests }),
        // A stopped container can be started again: its image stays, without a name.
        Some(user) if force && !user.running => Ok(Plan { names, manifests: Vec::new() }),
        Some(ImageUser { container, running }) => Err(ImageError::InUse { image: text.to_owned(), container, running }),
    }
}

/// The names that go with `name`: with a repository's last tag, the digests that the repository is known by.
fn going_with(name: &ImageRef, all: &[ImageRef]) -> Vec<ImageRef> {
    let same_repository =
        |other: &&ImageRef| other.registry() == name.registry() && other.repository() == name.repository();
    if let Some(digest) = name.digest() {
        let exact: Vec<ImageRef> =
            all.iter().filter(same_repository).filter(|other| other.digest() == Some(digest)).cloned().collect();
        // The digest of something that was pulled by tag: what goes is that tag.
        return if exact.is_empty() { all.iter().filter(same_repository).cloned().collect() } else { exact };
    }
    let is_last_tag = !all.iter().filter(same_repository).any(|other| other.digest().is_none() && other != name);
    let goes = |other: &&ImageRef| *other == name || is_last_tag && other.digest().is_some();
    all.iter().filter(same_repository).filter(goes).cloned().collect()
}
