// SPDX-License-Identifier: Apache-2.0
//! Snapshots: unpacked layers, shared read-only, under a container's own writable directory.
//!
//! [`Snapshotter`] is what the rest of Corten knows; how layers are kept is an implementation's affair.
//! [`TarIndex`] keeps each as its archive, and mounts it; [`Directories`] keeps each as a plain directory, which works on
//! every kernel. [`open`] chooses. `tests/conformance.rs` says what any implementation owes.
//!
//! **Architecture Invariant:** a layer is visible only when it is whole, verified and on disk. A container's root is
//! handed out as the descriptor of a detached mount: this crate puts nothing into anybody's mount table.

mod archive;
mod choice;
mod claims;
mod directories;
mod error;
mod index;
mod inherited;
mod mapped;
mod mounts;
mod overlay;
mod points;
mod ready;
mod store;
mod tar_index;
mod writable;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use oci::Digest;
use serde::{Deserialize, Serialize};

pub use choice::{Choice, open};
pub use directories::Directories;
pub use error::SnapshotError;
pub use mapped::Ids;
pub use points::MOUNT_POINTS;
pub use tar_index::TarIndex;

/// What is known of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Bytes of all its files, holes included.
    pub size: u64,
    /// Bytes of its uncompressed archive.
    pub archive_size: u64,
    /// It hides the layers below it entirely.
    #[serde(default)]
    pub opaque_root: bool,
    /// It has directories that its archive does not describe: over other layers they are what they are there.
    #[serde(default)]
    pub has_implied: bool,
}

impl LayerInfo {
    /// What an archive held that is to be the layer `diff_id`.
    fn of(unpacked: &layer::Unpacked, diff_id: &Digest) -> Result<LayerInfo, SnapshotError> {
        diff_id.matches(unpacked.diff_id).map_err(SnapshotError::Digest)?;
        let (size, archive_size) = (unpacked.bytes, unpacked.archive_bytes);
        let has_implied = !unpacked.implied.is_empty();
        Ok(LayerInfo { size, archive_size, opaque_root: unpacked.opaque_root, has_implied })
    }
}

/// How a container's root is to be mounted. The default: writable, and safe from power cuts as far as its file system is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// No writable directory at all: nothing can be made in the mount, not even mount points. (A read-only container
    /// that needs mount points gets a writable mount that its runtime makes read-only in the end.)
    pub read_only: bool,
    /// Never sync the writable directory (overlayfs's `volatile`). For containers whose files nobody wants after a
    /// power cut.
    pub volatile: bool,
    /// A writable mount has the places where every container has something mounted ([`MOUNT_POINTS`], and the directories
    /// `dev`, `etc`, `proc` and `sys`), below all layers, where this kernel takes one more. Nothing is written for them.
    pub mount_points: bool,
}

/// What a snapshotter is, for `info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Its name, for example `directories`.
    pub driver: String,
    /// Facts worth showing: a name and a value.
    pub status: Vec<(String, String)>,
}

/// A store of unpacked layers from which containers' roots are mounted. All methods may be called from any thread.
pub trait Snapshotter: Send + Sync {
    /// Whether the layer is here, whole.
    fn contains(&self, diff_id: &Digest) -> bool;

    /// Unpacks `tar`, the uncompressed archive of the layer `diff_id`. Returns without reading it if the layer is here
    /// already; callers with the same layer wait for each other, and unpack it once.
    ///
    /// # Errors
    /// [`SnapshotError::Unpack`] for a broken or hostile archive, [`SnapshotError::Digest`] when it is another layer.
    /// Nothing is left then.
    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> Result<LayerInfo, SnapshotError>;

    /// What is known of a layer.
    ///
    /// # Errors
    /// [`SnapshotError::NoLayer`] when it is not here.
    fn layer(&self, diff_id: &Digest) -> Result<LayerInfo, SnapshotError>;

    /// Removes a layer; says whether it was here. The caller sees to it that no container uses it.
    fn remove_layer(&self, diff_id: &Digest) -> Result<bool, SnapshotError>;

    /// All layers, in the order of their diff ids.
    fn layers(&self) -> Result<Vec<(Digest, LayerInfo)>, SnapshotError>;

    /// Mounts `layers`, bottom first, below a writable directory of the container, and returns the detached mount, to be
    /// attached by move_mount(2), in this mount namespace or another. The writable directory is made in `container_dir`
    /// (which must exist) at the first mount and kept for the next. One mount of a container at a time.
    ///
    /// # Errors
    /// [`SnapshotError::NoLayer`] when one is missing, [`SnapshotError::Mount`] when the kernel refuses.
    fn mount(&self, container_dir: &Path, layers: &[Digest], options: MountOptions) -> Result<OwnedFd, SnapshotError>;

    /// The same with the ids of a user namespace: what is whose in the layers and in the writable directory is so for who is
    /// in that namespace, and stays on the disk what it would be without one.
    ///
    /// # Errors
    /// As those of [`Snapshotter::mount`]; [`SnapshotError::NoIdMap`] where the kernel or a file system cannot.
    fn mount_mapped(
        &self,
        container_dir: &Path,
        layers: &[Digest],
        options: MountOptions,
        ids: Ids<'_>,
    ) -> Result<OwnedFd, SnapshotError>;

    /// Mounts ahead what `mount(container_dir, layers, options)` would: the next call of it with the same arguments is
    /// handed this mount at once. At most one waits; preparing another lets go of it, and so does a `mount` of that
    /// directory with other arguments, `unmounted`/`remove_container` of the directory, and `remove_layer` of one of its
    /// layers. What is let go of leaves nothing in its directory; so one that a container has written to is refused.
    ///
    /// # Errors
    /// As those of [`Snapshotter::mount`]; [`SnapshotError::System`] (a conflict) when the directory has a writable
    /// directory already. Nothing is mounted ahead then.
    fn prepare(&self, container_dir: &Path, layers: &[Digest], options: MountOptions) -> Result<(), SnapshotError>;

    /// Tells that a container's mount is gone, or soon will be: what was shared with it may go as well.
    fn unmounted(&self, container_dir: &Path);

    /// Removes what [`Snapshotter::mount`] made in `container_dir`, however large, deep or protected; nothing else in
    /// it. The mount must be gone; [`Snapshotter::unmounted`] need not have been called. May take seconds.
    fn remove_container(&self, container_dir: &Path) -> Result<(), SnapshotError>;

    /// What the container has changed: the upper directory of its overlay, to be read only. `None` when nothing was ever
    /// mounted for it.
    ///
    /// # Errors
    /// It cannot be opened.
    fn changes(&self, container_dir: &Path) -> Result<Option<OwnedFd>, SnapshotError> {
        writable::open_upper(container_dir)
    }

    /// Bytes on disk of a layer as it is kept here: of its archive, unless an implementation knows better.
    ///
    /// # Errors
    /// [`SnapshotError::NoLayer`] when it is not here.
    fn disk_usage(&self, diff_id: &Digest) -> Result<u64, SnapshotError> {
        Ok(self.layer(diff_id)?.archive_size)
    }

    /// What this is.
    fn describe(&self) -> Description;
}
