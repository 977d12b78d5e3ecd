// SPDX-License-Identifier: Apache-2.0
//! A container's writable directory: `upper`, and the `work` directory that overlayfs wants beside it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::SnapshotError;
use crate::error::At as _;

const UPPER: &str = "upper";
const WORK: &str = "work";
/// An upper directory that has not yet got the root directory's owner and mode.
const NEW_UPPER: &str = "upper.new";

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Both directories, open.
pub(crate) struct Writable {
    pub(crate) upper: OwnedFd,
    pub(crate) work: OwnedFd,
    /// A mount of their own that they are in, which ends when this is closed.
    mount: Option<OwnedFd>,
}

/// Opens the container's writable directory, and makes it at first: like `root`, the top layer's root directory, because
/// it is the upper one whose owner and mode the container sees on `/`.
pub(crate) fn prepare(container_dir: &Path, root: &OwnedFd) -> Result<Writable, SnapshotError> {
    let path = || container_dir.to_owned();
    let parent = open_container(container_dir).at("open", path)?;
    let upper = match open(&parent, UPPER) {
        Ok(upper) => upper,
        Err(Errno::NOENT) => make_upper(&parent, root).at("make the writable directory in", path)?,
        Err(error) => return Err(error).at("open the writable directory in", path),
    };
    match rustix::fs::mkdirat(&parent, WORK, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).at("make the work directory in", path),
    }
    let work = open(&parent, WORK).at("open the work directory in", path)?;
    forget_volatile(&work).at("clean the work directory in", path)?;
    Ok(Writable { upper, work, mount: None })
}

impl Writable {
    /// The mount of their own that they are in, if there is one.
    pub(crate) fn mount(&self) -> Option<BorrowedFd<'_>> {
        self.mount.as_ref().map(AsFd::as_fd)
    }

    /// The same two directories in `mount`, which is another mount of the container's directory.
    pub(crate) fn again(mount: OwnedFd) -> Result<Writable, Errno> {
        Ok(Writable { upper: open(&mount, UPPER)?, work: open(&mount, WORK)?, mount: Some(mount) })
    }
}

/// The container's upper directory, if it has one.
pub(crate) fn open_upper(container_dir: &Path) -> Result<Option<OwnedFd>, SnapshotError> {
    let path = || container_dir.join(UPPER);
    let opened = open_container(container_dir).and_then(|parent| open(&parent, UPPER));
    match opened {
        Ok(upper) => Ok(Some(upper)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).at("open", path),
    }
}

/// Removes the writable directory with everything in it.
pub(crate) fn remove(container_dir: &Path) -> Result<(), SnapshotError> {
    let parent = match open_container(container_dir) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).at("open", || container_dir.to_owned()),
    };
    for name in [UPPER, WORK, NEW_UPPER] {
        layer::remove_tree(&parent, name).at("remove", || container_dir.join(name))?;
    }
    Ok(())
}

fn make_upper(parent: &OwnedFd, root: &OwnedFd) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(parent, NEW_UPPER, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let upper = open(parent, NEW_UPPER)?;
    let stat = rustix::fs::fstat(root)?;
    rustix::fs::fchown(&upper, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(&upper, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let statx = rustix::fs::statx(root, "", rustix::fs::AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MTIME)?;
    let time = Timespec { tv_sec: statx.stx_mtime.tv_sec, tv_nsec: statx.stx_mtime.tv_nsec.into() };
    rustix::fs::futimens(&upper, &Timestamps { last_access: time, last_modification: time })?;
    rustix::fs::renameat(parent, NEW_UPPER, parent, UPPER)?;
    Ok(upper)
}

/// A volatile mount leaves a mark, so that nobody takes an unsynced directory for a good one after a power cut. Who
/// asked for it knew: the mark would only keep the container from being started again.
fn forget_volatile(work: &OwnedFd) -> std::io::Result<()> {
    let inner = match open(work, WORK) {
        Ok(inner) => inner,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    layer::remove_tree(&inner, "incompat")
}

fn open_container(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn open(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, DIRECTORY | OFlags::RDONLY, Mode::empty())
}
