// SPDX-License-Identifier: Apache-2.0
//! Leases: what a client of the API wants to keep for a while, though nothing here refers to it yet, or any more.
//!
//! Operations of the daemon's own need none: what they work on is pinned in memory (`references.rs`). A lease outlives
//! the daemon, and ends by itself. An image under a lease keeps its record and content when its last name goes; content
//! under a lease stays when its last image goes. Names are not protected: they hold no content.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use metadata::{Durability, Read, Table};
use oci::Digest;
use serde::{Deserialize, Serialize};

use crate::error::ImageError;
use crate::records::{Found, View};
use crate::{Images, Inner};

/// Id → [`Lease`].
const LEASES: Table = Table::new("leases");
/// Longer than this, something should have a name.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A lease's id, which its holder chooses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LeaseId(String);

/// Why a text is no lease's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a lease's id: 1 to 128 letters, digits, `_`, `-` or `.`, not `.` or `..`")]
pub struct LeaseIdError(String);

impl FromStr for LeaseId {
    type Err = LeaseIdError;

    fn from_str(text: &str) -> Result<LeaseId, LeaseIdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if !(1..=128).contains(&text.len()) || matches!(text, "." | "..") || !text.bytes().all(allowed) {
            return Err(LeaseIdError(text.chars().take(64).collect()));
        }
        Ok(LeaseId(text.to_owned()))
    }
}

impl TryFrom<String> for LeaseId {
    type Error = LeaseIdError;

    fn try_from(text: String) -> Result<LeaseId, LeaseIdError> {
        text.parse()
    }
}

impl From<LeaseId> for String {
    fn from(id: LeaseId) -> String {
        id.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// When it was made.
    pub created: Timestamp,
    /// When it protects nothing any more.
    pub expires: Timestamp,
    /// What its holder wants to remember of it.
    pub labels: BTreeMap<String, String>,
    /// What it protects.
    pub resources: BTreeSet<Resource>,
}

/// What a lease protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// The image with this manifest, and all it is made of.
    Image(Digest),
    /// A blob, or a layer by its diff ID.
    Content(Digest),
}

/// What leases protect at one moment.
#[derive(Debug, Default)]
pub(crate) struct Leased {
    /// Images, by their manifests.
    pub(crate) images: BTreeSet<Digest>,
    /// Blobs and layers beside those images'.
    pub(crate) content: BTreeSet<Digest>,
}

impl Images {
    /// Makes a lease that protects nothing yet, and ends `duration` from now. Durable when this returns.
    ///
    /// # Errors
    /// [`ImageError::LeaseExists`]; [`ImageError::LeaseDuration`] for none at all, or more than a year.
    pub fn create_lease(
        &self,
        id: LeaseId,
        duration: Duration,
        labels: BTreeMap<String, String>,
    ) -> Result<Lease, ImageError> {
        let wrong = || ImageError::LeaseDuration { seconds: duration.as_secs(), most: LONGEST.as_secs() };
        if duration.is_zero() || duration > LONGEST {
            return Err(wrong());
        }
        let created = Timestamp::now();
        let expires = created.checked_add(duration).map_err(|_| wrong())?;
        let lease = Lease { id, created, expires, labels, resources: BTreeSet::new() };
        let _pins = self.inner.references.lock();
        self.inner.metadata.write(Durability::Synced, |tx| {
            // One that has ended is as good as gone.
            match tx.get::<Lease>(LEASES, &lease.id.0)? {
                Some(known) if known.expires > created => Err(ImageError::LeaseExists { id: lease.id.clone() }),
                _ => Ok(tx.put(LEASES, &lease.id.0, &lease)?),
            }
        })?;
        Ok(lease)
    }

    /// Has the lease protect an image, by any of its names, or with a digest also any other blob or layer that is here.
    /// When this returns it is here, and stays.
    ///
    /// # Errors
    /// [`ImageError::NoLease`], also for one that has ended; [`ImageError::NotFound`].
    pub fn add_to_lease(&self, id: &LeaseId, what: &str) -> Result<Lease, ImageError> {
        let inner = &self.inner;
        let now = Timestamp::now();
        let _pins = inner.references.lock();
        let resources = inner.leasable(&inner.view()?, what)?;
        inner.metadata.write(Durability::Synced, |tx| {
            let known = tx.get::<Lease>(LEASES, &id.0)?.filter(|lease| lease.expires > now);
            let mut lease = known.ok_or_else(|| ImageError::NoLease { id: id.clone() })?;
            lease.resources.extend(resources);
            tx.put(LEASES, &id.0, &lease)?;
            Ok(lease)
        })
    }

    /// The leases that have not ended, sorted by their ids.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn leases(&self) -> Result<Vec<Lease>, ImageError> {
        let now = Timestamp::now();
        let all = self.inner.metadata.read(|tx| tx.list::<Lease>(LEASES).map_err(ImageError::from))?;
        Ok(all.into_iter().map(|(_, lease)| lease).filter(|lease| lease.expires > now).collect())
    }

    /// Ends a lease. Content that nothing else needs goes with it; an image that has lost its names stays, as one
    /// without a name.
    ///
    /// # Errors
    /// [`ImageError::NoLease`]; content that cannot be removed.
    pub fn remove_lease(&self, id: &LeaseId) -> Result<(), ImageError> {
        let inner = &self.inner;
        let pins = inner.references.lock();
        let ended = inner.metadata.write(Durability::Synced, |tx| {
            let lease = tx.get::<Lease>(LEASES, &id.0)?.ok_or_else(|| ImageError::NoLease { id: id.clone() })?;
            tx.delete(LEASES, &id.0)?;
            Ok::<_, ImageError>(lease)
        })?;
        inner.sweep(&pins, content(&[ended]))
    }
}

/// The content that leases name apart from images.
fn content(leases: &[Lease]) -> BTreeSet<Digest> {
    let resources = leases.iter().flat_map(|lease| &lease.resources);
    let content = resources.filter_map(|resource| match resource {
        Resource::Content(digest) => Some(*digest),
        Resource::Image(_) => None,
    });
    content.collect()
}

/// What leases protect as `tx` has them.
pub(crate) fn leased(tx: &Read<'_>) -> Result<Leased, ImageError> {
    let (now, mut leased) = (Timestamp::now(), Leased::default());
    for (_, lease) in tx.list::<Lease>(LEASES)?.into_iter().filter(|(_, lease)| lease.expires > now) {
        for resource in lease.resources {
            match resource {
                Resource::Image(manifest) => leased.images.insert(manifest),
                Resource::Content(digest) => leased.content.insert(digest),
            };
        }
    }
    Ok(leased)
}

impl Inner {
    /// What of it is here. The caller holds the lock of references.
    fn leasable(&self, view: &View, what: &str) -> Result<Vec<Resource>, ImageError> {
        if let Ok(digest) = what.parse::<Digest>() {
            if view.images.contains_key(&digest) {
                return Ok(vec![Resource::Image(digest)]);
            }
            let is_id = view.images.values().any(|record| record.id == digest);
            if !is_id && (self.content.contains(&digest) || self.layers.contains(&digest)) {
                return Ok(vec![Resource::Content(digest)]);
            }
        }
        let manifests = match view.matches(what)? {
            Found::Name(_, manifest) => vec![manifest],
            Found::Id(id) => view.manifests_of(id),
        };
        Ok(manifests.into_iter().map(Resource::Image).collect())
    }

    /// Forgets leases that have ended, and says what content they named: it may be without need now. The caller holds the
    /// lock of references.
    pub(crate) fn forget_ended_leases(&self) -> Result<BTreeSet<Digest>, ImageError> {
        let now = Timestamp::now();
        let all = self.metadata.read(|tx| tx.list::<Lease>(LEASES).map_err(ImageError::from))?;
        let ended: Vec<Lease> = all.into_iter().map(|(_, lease)| lease).filter(|lease| lease.expires <= now).collect();
        if !ended.is_empty() {
            self.metadata.write(Durability::Relaxed, |tx| {
                for lease in &ended {
                    tx.delete(LEASES, &lease.id.0)?;
                }
                Ok::<(), ImageError>(())
            })?;
        }
        Ok(content(&ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_can_stand_in_a_path() {
        for bad in ["", ".", "..", "a/b", "a b", "ü", "a?b", &"x".repeat(129)] {
            assert!(bad.parse::<LeaseId>().is_err(), "{bad:?}");
        }
        assert_eq!("a-1_b.c".parse::<LeaseId>().unwrap().to_string(), "a-1_b.c");
    }
}
