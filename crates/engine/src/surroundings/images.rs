// SPDX-License-Identifier: Apache-2.0
//! Images that are mounted into containers: their layers, read-only, are mounted on the host in the directory of the
//! container's shim, from where the container binds them. Like shared memory they go with that directory.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use oci::{ContainerId, Digest};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree};
use snapshot::MountOptions;

use crate::Engine;
use crate::container::Record;
use crate::error::EngineError;
use crate::mount::{ImageMount, Mount, clean};
use crate::userns::UserNamespace;

/// Where they are in a shim's directory.
pub(crate) fn directory(shim_dir: &Path) -> PathBuf {
    shim_dir.join("images")
}

/// Where one of them is, by its place in the container.
pub(crate) fn place(images: &Path, mount: &ImageMount) -> PathBuf {
    images.join(Digest::of(clean(&mount.target)).hex())
}

/// Takes all of them from the host. Containers that have them keep them.
pub(crate) fn unmount(shim_dir: &Path) {
    let entries = match fs::read_dir(directory(shim_dir)) {
        Ok(entries) => entries,
        // There are none.
        Err(_) => return,
    };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        match rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Nothing is mounted on it.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => tracing::error!(path = %path.display(), %errno, "cannot unmount an image"),
        }
    }
}

impl Engine {
    /// Mounts the images of a container in the directory of its shim.
    pub(crate) fn mount_images(&self, record: &Record, ids: Option<&UserNamespace>) -> Result<(), EngineError> {
        let images = directory(&self.shim_dir(&record.id));
        let mut mounts = record.mounts().iter().filter_map(Mount::image).peekable();
        if mounts.peek().is_some() {
            // The shim's directory is root's alone.
            fs::DirBuilder::new().mode(0o700).create(&images).map_err(EngineError::io("create", &images))?;
        }
        mounts.try_for_each(|mount| self.mount_image(record, mount, ids, &place(&images, mount)))
    }

    fn mount_image(
        &self,
        record: &Record,
        mount: &ImageMount,
        ids: Option<&UserNamespace>,
        path: &Path,
    ) -> Result<(), EngineError> {
        let whole = self.image_root(&record.id, mount, ids)?;
        let Some(subpath) = &mount.subpath else { return attach(&whole, path) };
        // Before Linux 6.15 there is no clone of what is attached nowhere.
        attach(&whole, &path.with_extension("whole"))?;
        attach(&part(&whole, mount, subpath)?, path)
    }

    /// What of an image is mounted, attached nowhere yet.
    pub(crate) fn image_tree(
        &self,
        container: &ContainerId,
        mount: &ImageMount,
        ids: Option<&UserNamespace>,
    ) -> Result<OwnedFd, EngineError> {
        let whole = self.image_root(container, mount, ids)?;
        match &mount.subpath {
            Some(subpath) => part(&whole, mount, subpath),
            None => Ok(whole),
        }
    }

    fn image_root(
        &self,
        container: &ContainerId,
        mount: &ImageMount,
        ids: Option<&UserNamespace>,
    ) -> Result<OwnedFd, EngineError> {
        // Not the container's own directory: its own mount is another one.
        let user = self.container_dir(container).join("images").join(Digest::of(clean(&mount.target)).hex());
        let options = MountOptions { read_only: true, ..MountOptions::default() };
        let root = match ids {
            None => self.layers.mount(&user, &mount.layers, options)?,
            Some(namespace) => self.layers.mount_mapped(&user, &mount.layers, options, namespace.for_mounts())?,
        };
        // The mount holds what it lies on.
        self.layers.unmounted(&user);
        Ok(root)
    }
}

/// Attaches a tree; a file onto a file.
fn attach(tree: &OwnedFd, path: &Path) -> Result<(), EngineError> {
    let stat = rustix::fs::statat(tree, "", AtFlags::EMPTY_PATH);
    let is_directory = stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    let made = match is_directory {
        true => fs::DirBuilder::new().mode(0o700).create(path),
        false => fs::File::create_new(path).map(drop),
    };
    made.map_err(EngineError::io("create", path))?;
    move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| EngineError::io("mount an image at", path)(errno.into()))
}

/// A part of an image, found by descriptor: no link leads out of it.
fn part(whole: &OwnedFd, mount: &ImageMount, subpath: &str) -> Result<OwnedFd, EngineError> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let part = openat2(whole.as_fd(), subpath, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    let part = part.map_err(|errno| {
        let reason = format!("cannot access the path {subpath:?} of the image {}: {errno}", mount.image);
        EngineError::invalid("image-subpath", reason)
    })?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(&part, "", flags)
        .map_err(|errno| EngineError::io("clone a part of the image mounted at", &mount.target)(errno.into()))
}
