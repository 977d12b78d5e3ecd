// SPDX-License-Identifier: Apache-2.0
//! Layers that are mounted, each once for all containers that use it: what the kernel has cached of a layer's files belongs
//! to its mount. One lasts as long as a container has it; when this process dies, as long as an overlay does.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oci::Digest;

use crate::SnapshotError;
use crate::error::At as _;

/// The mounts, by layer.
#[derive(Default)]
pub(crate) struct Mounts(Mutex<HashMap<Digest, Shared>>);

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
        let mut mounts = self.lock();
        if !mounts.contains_key(diff_id) {
            mounts.insert(*diff_id, Shared { mount: make()?, users: HashSet::new() });
        }
        // It was there, or was just put there.
        let Some(shared) = mounts.get_mut(diff_id) else { return Err(SnapshotError::NoLayer { diff_id: *diff_id }) };
        shared.users.insert(container_dir.to_owned());
        rustix::io::fcntl_dupfd_cloexec(&shared.mount, 0).at("use the mount of", || container_dir.to_owned())
    }

    /// The container needs no layer any more.
    pub(crate) fn release(&self, container_dir: &Path) {
        let mut mounts = self.lock();
        for shared in mounts.values_mut() {
            shared.users.remove(container_dir);
        }
        let unused: Vec<_> = mounts.extract_if(|_, shared| shared.users.is_empty()).collect();
        // Closing the last descriptor unmounts, which takes a while: nobody else waits for it.
        drop(mounts);
        drop(unused);
    }

    /// The layer is gone; those who use it keep its mount.
    pub(crate) fn forget(&self, diff_id: &Digest) {
        let _forgotten = self.lock().remove(diff_id);
    }

    /// How many layers are mounted.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// A map of mounts is whole whatever panicked while it was locked.
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Shared>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
