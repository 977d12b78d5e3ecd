// SPDX-License-Identifier: Apache-2.0
//! A stack of layers with the ids of a user namespace: each layer, and the writable directory, is an id-mapped mount
//! (mount_setattr(2)), and the overlay above them is an ordinary one. So layers are there once for all containers,
//! whatever ids these have, and what a container writes is on the disk as it would be without a user namespace: what
//! reads the writable directory (`commit`, `diff`) needs to know nothing of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount, open_tree,
};
use sys::process::CloneFlags;

use crate::SnapshotError;
use crate::overlay::{self, Method, Overlay};
use crate::writable::Writable;

/// What a failure is told of.
const STACK: &str = "a stack of layers";

/// The ids of a user namespace.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'n> {
    /// The namespace's file.
    pub namespace: BorrowedFd<'n>,
    /// The host's user id of its root.
    pub uid: u32,
    /// The host's group id of its root's group.
    pub gid: u32,
}

/// The directories, each with these ids.
pub(crate) fn all(directories: Vec<OwnedFd>, ids: Option<Ids<'_>>) -> Result<Vec<OwnedFd>, SnapshotError> {
    match ids {
        None => Ok(directories),
        Some(ids) => directories.iter().map(|directory| mapped(directory.as_fd(), "a layer", ids)).collect(),
    }
}

/// The writable directory with these ids. Both parts are of one mount, as overlayfs wants it.
pub(crate) fn writable(plain: Writable, dir: &Path, ids: Option<Ids<'_>>) -> Result<Writable, SnapshotError> {
    const WHAT: &str = "the writable layer";
    let Some(ids) = ids else { return Ok(plain) };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let parent = rustix::fs::open(dir, flags, rustix::fs::Mode::empty()).map_err(|e| failed(WHAT, "open", e.into()))?;
    let parent = mapped(parent.as_fd(), WHAT, ids)?;
    Writable::again(parent).map_err(|e| failed(WHAT, "open again", e.into()))
}

/// Mounts the overlay. With ids as their root, because what overlayfs makes for itself in the writable directory, which is
/// in the mount `writable`, must be somebody's there.
pub(crate) fn stack(
    overlay: &Overlay<'_>,
    method: Method,
    ids: Option<Ids<'_>>,
    writable: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, SnapshotError> {
    let Some(ids) = ids else { return overlay::mount(overlay, method) };
    // Before Linux 6.15 overlayfs stacks only what is attached in the mount namespace of who mounts.
    if !matches!(method, Method::Descriptors | Method::Append) {
        return attached(overlay, method, ids, writable);
    }
    let acting = act_as_root(ids)?;
    match overlay::mount(overlay, method) {
        Err(SnapshotError::Mount { source, .. }) if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            drop(acting);
            attached(overlay, method, ids, writable)
        }
        mounted => mounted,
    }
}

fn act_as_root(ids: Ids<'_>) -> Result<sys::file_ids::ActingAs, SnapshotError> {
    sys::file_ids::act_as(ids.uid, ids.gid).map_err(|error| failed(STACK, "setfsuid", error.to_io()))
}

/// The same from a mount namespace that ends with a thread, in which the layers are attached for that long. The overlay has
/// them until it ends itself.
fn attached(
    overlay: &Overlay<'_>,
    method: Method,
    ids: Ids<'_>,
    writable: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, SnapshotError> {
    let work = || {
        sys::namespace::unshare(CloneFlags::NEWNS).map_err(|error| failed(STACK, "unshare", error.to_io()))?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|e| failed(STACK, "mount(\"/\", MS_PRIVATE)", e.into()))?;
        let mode = Some(c"mode=700");
        mount("tmpfs", overlay.scratch, "tmpfs", MountFlags::empty(), mode)
            .map_err(|e| failed(STACK, "mount(\"tmpfs\")", e.into()))?;
        let place = |name: usize| -> Result<PathBuf, SnapshotError> {
            let path = overlay.scratch.join(name.to_string());
            std::fs::create_dir(&path).map_err(|source| failed(STACK, "mkdir", source))?;
            Ok(path)
        };
        let mounts: Vec<BorrowedFd<'_>> = overlay.lower.iter().map(AsFd::as_fd).chain(writable).collect();
        for (name, mount) in mounts.iter().enumerate() {
            move_mount(mount, "", CWD, place(name)?, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
                .map_err(|e| failed(STACK, "move_mount", e.into()))?;
        }
        let top = place(mounts.len())?;
        let _acting = act_as_root(ids)?;
        overlay::mount_here(overlay, method, &top)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("overlay".to_owned()).spawn_scoped(scope, work);
        match thread.map_err(|source| failed(STACK, "start a thread", source))?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A mount of this directory alone, attached nowhere, with these ids.
fn mapped(directory: BorrowedFd<'_>, what: &'static str, ids: Ids<'_>) -> Result<OwnedFd, SnapshotError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(directory, "", flags).map_err(|e| failed(what, "open_tree(OPEN_TREE_CLONE)", e.into()))?;
    sys::mount::map_ids(tree.as_fd(), false, ids.namespace)
        .map_err(|error| failed(what, "mount_setattr(MOUNT_ATTR_IDMAP)", error.to_io()))?;
    Ok(tree)
}

fn failed(what: &'static str, step: &'static str, source: std::io::Error) -> SnapshotError {
    SnapshotError::NoIdMap { what, step, source }
}
