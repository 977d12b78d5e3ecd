// SPDX-License-Identifier: Apache-2.0
//! A stack of layers with the ids of a user namespace: each layer, and the writable directory, is an id-mapped mount
//! (mount_setattr(2)), and the overlay above them is an ordinary one. So layers are there once for all containers,
//! whatever ids these have, and what a container writes is on the disk as it would be without a user namespace: what
//! reads the writable directory (`commit`, `diff`) needs to know nothing of it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::SnapshotError;
use crate::overlay::{self, Method, Overlay};
use crate::writable::Writable;

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

/// Mounts the overlay; with ids as their root, because what overlayfs makes for itself in the writable directory must be
/// somebody's there.
pub(crate) fn stack(overlay: &Overlay<'_>, method: Method, ids: Option<Ids<'_>>) -> Result<OwnedFd, SnapshotError> {
    let Some(ids) = ids else { return overlay::mount(overlay, method) };
    if !matches!(method, Method::Descriptors | Method::Append) {
        // The names of id-mapped mounts, which are attached nowhere, lead to them in this mount namespace only.
        return Err(failed("a stack of layers", "overlayfs takes no layers one by one", Errno::NOSYS.into()));
    }
    let _acting = sys::file_ids::act_as(ids.uid, ids.gid)
        .map_err(|error| failed("a stack of layers", "setfsuid", error.to_io()))?;
    overlay::mount(overlay, method)
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
