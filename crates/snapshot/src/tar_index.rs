// SPDX-License-Identifier: Apache-2.0
//! Layers as they came: each is its archive, byte for byte, written in one piece, and a small index over it that the
//! kernel mounts.
//!
//! One large file is written and synced several times faster than the thousands of small ones in it, is read faster
//! when it is cold, and the archive that a digest was made of stays at hand. `index.rs` has what is mounted.

use std::io::{Read, Seek as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use erofs::Device;
use layer::{Limits, Nodes};
use oci::Digest;
use rustix::fs::{Mode, OFlags};

use crate::archive::Archive;
use crate::error::At as _;
use crate::store::{ARCHIVE, Form, INDEX, Store};
use crate::{Description, Directories, Ids, LayerInfo, MountOptions, SnapshotError, Snapshotter, index};

/// Layers as archives with an index. What an index cannot express (see [`layer::Obstacle`]) is unpacked as
/// [`Directories`] does; so are, or stay, layers that [`Directories`] has made. Both kinds are stacked in one mount.
pub struct TarIndex {
    directories: Directories,
}

impl TarIndex {
    /// Opens the layers under `root/layers`, as [`Directories::open`] does, and tries once whether such layers can be
    /// mounted here.
    ///
    /// # Errors
    /// Beside those of [`Directories::open`], [`SnapshotError::Index`] where the kernel refuses.
    pub fn open(root: &Path) -> Result<TarIndex, SnapshotError> {
        TarIndex::with_limits(root, Limits::default())
    }

    /// The same, with other limits for archives.
    pub fn with_limits(root: &Path, limits: Limits) -> Result<TarIndex, SnapshotError> {
        let store = Store::open(root)?;
        index::probe(&store)?;
        Ok(TarIndex::over(store, limits))
    }

    /// Over a store from which archives can be mounted.
    pub(crate) fn over(store: Store, limits: Limits) -> TarIndex {
        TarIndex { directories: Directories::over(store, limits, None) }
    }

    /// Keeps the archive in `directory`, which has that name in the store, with its index, and syncs.
    fn keep(
        &self,
        diff_id: &Digest,
        tar: &mut dyn Read,
        directory: &OwnedFd,
        name: &str,
    ) -> Result<(LayerInfo, Form), SnapshotError> {
        let store = &self.directories.store;
        let mut archive = Archive::create(store, directory, name)?;
        let indexed = layer::index(tar, &self.directories.limits, |bytes| archive.append(bytes))
            .map_err(|source| SnapshotError::Unpack { diff_id: *diff_id, source })?;
        let info = LayerInfo::of(&indexed.unpacked, diff_id)?;
        let Ok(nodes) = indexed.nodes else {
            return self.unpack_kept(diff_id, archive, directory, name);
        };
        let path = || store.path.join(name);
        self.write_index(&nodes, &info, diff_id, directory, name)?;
        if let Some(file) = store.list_implied(directory, name, &indexed.unpacked.implied)? {
            file.sync_all().at("sync", path)?;
        }
        store.describe(directory, name, &info)?.sync_all().at("sync", path)?;
        archive.sync().at("sync", path)?;
        rustix::fs::fsync(directory).at("sync", path)?;
        Ok((info, Form::Archive))
    }

    fn write_index(
        &self,
        nodes: &Nodes,
        info: &LayerInfo,
        diff_id: &Digest,
        directory: &OwnedFd,
        name: &str,
    ) -> Result<(), SnapshotError> {
        let path = || self.directories.store.path.join(name).join(INDEX);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, INDEX, flags, Mode::RUSR).at("make", path)?;
        let file = std::fs::File::from(file);
        let device = Device { size: info.archive_size, uuid: uuid(diff_id) };
        index::write(nodes, &device, &file).map_err(|source| SnapshotError::WriteIndex { path: path(), source })?;
        file.sync_all().at("sync", path)
    }

    /// Makes a directory of a layer whose archive is already here.
    fn unpack_kept(
        &self,
        diff_id: &Digest,
        archive: Archive,
        directory: &OwnedFd,
        name: &str,
    ) -> Result<(LayerInfo, Form), SnapshotError> {
        let path = || self.directories.store.path.join(name).join(ARCHIVE);
        let mut tar = archive.into_reader();
        tar.rewind().at("read", path)?;
        rustix::fs::unlinkat(directory, ARCHIVE, rustix::fs::AtFlags::empty()).at("remove", path)?;
        self.directories.unpack_into(diff_id, tar, directory, name)
    }
}

/// Half of the diff ID identifies the image well enough.
fn uuid(diff_id: &Digest) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&diff_id.as_bytes()[..16]);
    uuid
}

impl Snapshotter for TarIndex {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.directories.contains(diff_id)
    }

    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> Result<LayerInfo, SnapshotError> {
        self.directories.store.make(diff_id, |directory, name| self.keep(diff_id, tar, directory, name))
    }

    fn layer(&self, diff_id: &Digest) -> Result<LayerInfo, SnapshotError> {
        self.directories.layer(diff_id)
    }

    fn remove_layer(&self, diff_id: &Digest) -> Result<bool, SnapshotError> {
        self.directories.remove_layer(diff_id)
    }

    fn layers(&self) -> Result<Vec<(Digest, LayerInfo)>, SnapshotError> {
        self.directories.layers()
    }

    fn mount(&self, container_dir: &Path, layers: &[Digest], options: MountOptions) -> Result<OwnedFd, SnapshotError> {
        self.directories.mount(container_dir, layers, options)
    }

    fn mount_mapped(
        &self,
        container_dir: &Path,
        layers: &[Digest],
        options: MountOptions,
        ids: Ids<'_>,
    ) -> Result<OwnedFd, SnapshotError> {
        self.directories.mount_mapped(container_dir, layers, options, ids)
    }

    fn prepare(&self, container_dir: &Path, layers: &[Digest], options: MountOptions) -> Result<(), SnapshotError> {
        self.directories.prepare(container_dir, layers, options)
    }

    fn unmounted(&self, container_dir: &Path) {
        self.directories.unmounted(container_dir);
    }

    fn remove_container(&self, container_dir: &Path) -> Result<(), SnapshotError> {
        self.directories.remove_container(container_dir)
    }

    fn disk_usage(&self, diff_id: &Digest) -> Result<u64, SnapshotError> {
        self.directories.disk_usage(diff_id)
    }

    fn describe(&self) -> Description {
        let mut description = self.directories.describe();
        let forms: Vec<Form> = self.directories.store.all().into_iter().map(|(_, _, form)| form).collect();
        let archives = forms.iter().filter(|form| **form == Form::Archive).count();
        description.driver = "tar-index".to_owned();
        description.status.push(("Archives".to_owned(), format!("{archives} of {} layers", forms.len())));
        description
    }
}

#[cfg(test)]
mod tests;
