// SPDX-License-Identifier: Apache-2.0
//! Layers that are mounted, each once for all containers that use it: what the kernel has cached of a layer's files belongs
//! to its mount. One lasts as long as a container has it, and then as one of the last [`IDLE`] that were had, so that the
//! next container of an image neither mounts nor reads its layers again; when this process dies, as long as an overlay does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oci::Digest;

use crate::SnapshotError;
use crate::error::At as _;

/// How many layers without a container stay mounted. Each costs a descriptor and a few kilobytes of the kernel's; what is
/// cached of its files goes like any other when memory is wanted.
const IDLE: usize = 64;

/// The mounts.
#[derive(Default)]
pub(crate) struct Mounts(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_layer: HashMap<Digest, Shared>,
    /// Those without users, the one that was used last at the end.
    idle: VecDeque<Digest>,
}

struct Shared {
    mount: OwnedFd,
    /// The containers' directories.
    users: HashSet<PathBuf>,
}

impl Mounts {
    /// The layer's mount for a container, made by `make` if it is the first one's.
    pub(crate) fn share(
        &self,
        diff_id: &Digest,
        container_dir: &Path,
        make: impl FnOnce() -> Result<OwnedFd, SnapshotError>,
    ) -> Result<OwnedFd, SnapshotError> {
        let mut known = self.lock();
        if !known.by_layer.contains_key(diff_id) {
            known.by_layer.insert(*diff_id, Shared { mount: make()?, users: HashSet::new() });
        }
        known.idle.retain(|idle| idle != diff_id);
        // It was there, or was just put there.
        let Some(shared) = known.by_layer.get_mut(diff_id) else {
            return Err(SnapshotError::NoLayer { diff_id: *diff_id });
        };
        shared.users.insert(container_dir.to_owned());
        rustix::io::fcntl_dupfd_cloexec(&shared.mount, 0).at("use the mount of", || container_dir.to_owned())
    }

    /// The container needs no layer any more.
    pub(crate) fn release(&self, container_dir: &Path) {
        let mut known = self.lock();
        let Known { by_layer, idle } = &mut *known;
        for (diff_id, shared) in by_layer.iter_mut() {
            if shared.users.remove(container_dir) && shared.users.is_empty() {
                idle.push_back(*diff_id);
            }
        }
        let surplus = idle.len().saturating_sub(IDLE);
        let unused: Vec<_> = idle.drain(..surplus).filter_map(|diff_id| by_layer.remove(&diff_id)).collect();
        // Closing the last descriptor unmounts, which takes a while: nobody else waits for it.
        drop(known);
        drop(unused);
    }

    /// The layer is gone; those who use it keep its mount.
    pub(crate) fn forget(&self, diff_id: &Digest) {
        let mut known = self.lock();
        known.idle.retain(|idle| idle != diff_id);
        let forgotten = known.by_layer.remove(diff_id);
        drop(known);
        drop(forgotten);
    }

    /// How many layers are mounted, and how many of them for nobody.
    #[cfg(test)]
    pub(crate) fn count(&self) -> (usize, usize) {
        let known = self.lock();
        (known.by_layer.len(), known.idle.len())
    }

    /// What is known is whole whatever panicked while it was locked: the caller's `make` does before anything is changed.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
