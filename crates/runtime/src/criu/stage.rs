// SPDX-License-Identifier: Apache-2.0
//! What CRIU finds when it restores a container: the root file system as a mount point, with a place for every mount.
//!
//! CRIU wants a root that is a mount and whose parent is not covered. Both are made in a mount namespace of our own,
//! which CRIU inherits: nothing of it is ever seen on the host, and nothing is left there, whatever ends how. (CRIU
//! alone in one would not do: the directories that we hand it by descriptor must be mounts it may mount on.)

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, OFlags, fstat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use sys::mount::{Attributes, Propagation};
use sys::process::CloneFlags;

use super::layout::{Bind, Point};
use crate::resolve::{Leaf, Root};
use crate::{LaunchError, prepare};

/// A mount namespace of our own, and the way back.
#[derive(Debug)]
pub(crate) struct OwnMounts {
    before: OwnedFd,
    directory: OwnedFd,
}

impl OwnMounts {
    /// Copies the host's mounts. What the host mounts or unmounts from now on still arrives; what we do does not leave.
    /// Paths and the working directory mean what they meant.
    pub(crate) fn enter() -> Result<OwnMounts, LaunchError> {
        let before = prepare::open_namespace(Path::new("/proc/self/ns/mnt"))?;
        let directory = open_root(Path::new("."))?;
        sys::namespace::unshare(CloneFlags::NEWNS)?;
        let slave = Attributes { propagation: Some(Propagation::Slave), ..Attributes::default() };
        sys::mount::setattr(open_root(Path::new("/"))?.as_fd(), true, &slave)?;
        Ok(OwnMounts { before, directory })
    }

    /// Goes back: whoever stays with a container must not keep the host's mounts alive.
    pub(crate) fn leave(self) -> sys::Result<()> {
        sys::namespace::setns(self.before.as_fd(), CloneFlags::NEWNS)?;
        rustix::process::fchdir(&self.directory).map_err(|errno| sys::Error::new("fchdir(working directory)", errno))
    }
}

/// The root file system and where it is put.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) rootfs: &'a Path,
    /// A directory of ours, by its real path.
    pub(crate) place: &'a Path,
    pub(crate) points: &'a [Point],
}

impl Stage<'_> {
    /// Sets the stage, among [`OwnMounts`].
    pub(crate) fn set(&self) -> sys::Result<()> {
        if !self.points.is_empty() {
            // A bind mount may hold the place of another below it, so each is mounted for a moment, in order.
            let rehearsal = self.attach_root()?;
            self.points.iter().try_for_each(|point| make(&Root::new(rehearsal.as_fd()), point))?;
            drop(rehearsal);
            unmount(self.place, UnmountFlags::DETACH)
                .map_err(|errno| sys::Error::new(format!("umount2({:?}, MNT_DETACH)", self.place), errno))?;
        }
        self.attach_root().map(drop)
    }

    fn attach_root(&self) -> sys::Result<OwnedFd> {
        let root = tree(self.rootfs, true)?;
        let private = Attributes { propagation: Some(Propagation::Private), ..Attributes::default() };
        sys::mount::setattr(root.as_fd(), true, &private)?;
        move_mount(&root, "", CWD, self.place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(|errno| {
            let call = format!("move_mount(rootfs, \"\", AT_FDCWD, {:?}, MOVE_MOUNT_F_EMPTY_PATH)", self.place);
            sys::Error::new(call, errno)
        })?;
        Ok(root)
    }
}

fn make(root: &Root<'_>, point: &Point) -> sys::Result<()> {
    match point {
        Point::Directory(path) => root.ensure(path, Leaf::Directory).map(drop),
        Point::KernelDirectory(path) => root.ensure_no_links(path, Leaf::Directory).map(drop),
        Point::Bind(Bind { destination, source, recursive }) => {
            let tree = tree(source, *recursive)?;
            let leaf = if is_directory(&tree)? { Leaf::Directory } else { Leaf::File };
            let target = root.ensure(destination, leaf)?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&tree, "", &target, "", flags).map_err(|errno| {
                let (from, to) = (source.display(), destination.display());
                sys::Error::new(format!("move_mount({from}, \"\", {to} in the root, \"\", {flags:?})"), errno)
            })
        }
    }
}

fn tree(path: &Path, recursive: bool) -> sys::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags).map_err(|errno| {
        let recursive = if recursive { "|AT_RECURSIVE" } else { "" };
        let flags = format!("OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC{recursive}");
        sys::Error::new(format!("open_tree(AT_FDCWD, {path:?}, {flags})"), errno)
    })
}

pub(super) fn is_directory(fd: &OwnedFd) -> sys::Result<bool> {
    let metadata = fstat(fd).map_err(|errno| sys::Error::new(format!("fstat({})", fd.as_raw_fd()), errno))?;
    Ok(FileType::from_raw_mode(metadata.st_mode) == FileType::Directory)
}

/// Opens the directory at `path` as the root of lookups.
pub(crate) fn open_root(path: &Path) -> sys::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, 0o0.into())
        .map_err(|errno| sys::Error::new(format!("open({path:?}, O_PATH|O_DIRECTORY)"), errno))
}

/// Where `path` leads in the root: CRIU knows mounts by the places they really are at. What is not there (yet) is
/// where its name says.
pub(super) fn really(root: &OwnedFd, path: &Path) -> sys::Result<PathBuf> {
    use rustix::io::Errno;
    let found = match Root::new(root.as_fd()).open(path, OFlags::PATH) {
        Ok(found) => found,
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(path.to_owned()),
        Err(error) => return Err(error),
    };
    let (base, full) = (name_of(root)?, name_of(&found)?);
    Ok(full.strip_prefix(&base).map_or_else(|_| path.to_owned(), |inside| Path::new("/").join(inside)))
}

fn name_of(fd: &OwnedFd) -> sys::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let name = rustix::fs::readlink(&link, Vec::new())
        .map_err(|errno| sys::Error::new(format!("readlink({link:?})"), errno))?;
    Ok(std::ffi::OsString::from_vec(name.into_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_where_links_lead_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("run/x")).unwrap();
        std::fs::create_dir(dir.path().join("var")).unwrap();
        std::os::unix::fs::symlink("/run", dir.path().join("var/run")).unwrap();
        std::os::unix::fs::symlink("../../../../run", dir.path().join("var/out")).unwrap();
        let root = open_root(dir.path()).unwrap();
        for (path, expected) in [("/var/run/x", "/run/x"), ("/var/out/x", "/run/x"), ("/run/x", "/run/x")] {
            assert_eq!(really(&root, Path::new(path)).unwrap(), Path::new(expected));
        }
        assert_eq!(really(&root, Path::new("/no/such")).unwrap(), Path::new("/no/such"));
    }
}
