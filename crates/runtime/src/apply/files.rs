// SPDX-License-Identifier: Apache-2.0
//! The descriptors that setting up a container's files uses.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsmount, fsopen, move_mount,
};

use super::StepError;
use crate::plan::sysctl_path;
use crate::resolve::{Leaf, Root};

/// The root file system, and what is needed more than once.
#[derive(Default)]
pub(super) struct Files {
    pub(super) root: Option<OwnedFd>,
    /// Whether procfs was mounted on `/proc`.
    pub(super) proc_mounted: bool,
    /// The host's `/dev/null`, checked.
    pub(super) null: Option<OwnedFd>,
    /// One empty, read-only tmpfs, of which every masked directory shows a clone.
    pub(super) empty: Option<OwnedFd>,
    /// A procfs of our own, attached nowhere, through which kernel parameters are set.
    proc: Option<OwnedFd>,
    /// The directory in which the last device or link was made.
    directory: Option<(PathBuf, OwnedFd)>,
}

impl Files {
    /// The root for lookups.
    pub(super) fn root(&self) -> Result<Root<'_>, StepError> {
        let root = self.root.as_ref().ok_or(StepError::NotProvided { what: "a root" })?;
        Ok(Root::new(root.as_fd()))
    }

    /// The directory `path` in the root, made when missing; remembered, because devices come in rows.
    pub(super) fn directory(&mut self, path: &Path) -> Result<&OwnedFd, StepError> {
        if self.directory.as_ref().is_none_or(|(known, _)| known != path) {
            let opened = self.root()?.ensure(path, Leaf::Directory)?;
            self.directory = Some((path.to_owned(), opened));
        }
        self.directory.as_ref().map(|(_, fd)| fd).ok_or(StepError::NotProvided { what: "a directory" })
    }

    /// Forgets the remembered directory: a mount may have covered it.
    pub(super) fn forget_directory(&mut self) {
        self.directory = None;
    }

    pub(super) fn set_sysctl(&mut self, key: &str, value: &str) -> Result<(), StepError> {
        if self.proc.is_none() {
            self.proc = Some(new_procfs()?);
        }
        let proc = self.proc.as_ref().ok_or(StepError::NotProvided { what: "procfs" })?;
        let path = Path::new("sys").join(sysctl_path(key));
        let call = || format!("openat2(procfs, {path:?}, O_WRONLY, RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS)");
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let mode = rustix::fs::Mode::empty();
        let file = openat2(proc, &path, OFlags::WRONLY | OFlags::CLOEXEC, mode, resolve)
            .map_err(|errno| sys::Error::new(call(), errno))?;
        rustix::io::write(&file, value.as_bytes())
            .map_err(|errno| sys::Error::new(format!("write({path:?}, {value:?})"), errno))?;
        Ok(())
    }
}

fn new_procfs() -> sys::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| sys::Error::new("fsopen(\"proc\", FSOPEN_CLOEXEC)", errno))?;
    fsconfig_create(&context).map_err(|errno| sys::Error::new("fsconfig(proc, FSCONFIG_CMD_CREATE)", errno))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(|errno| sys::Error::new("fsmount(proc, FSMOUNT_CLOEXEC)", errno))
}

/// Attaches the detached mount `mount` at `target`.
pub(crate) fn attach(mount: impl AsFd, target: impl AsFd) -> sys::Result<()> {
    use std::os::fd::AsRawFd;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", &target, "", flags).map_err(|errno| {
        let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
        let flags = "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH";
        sys::Error::new(format!("move_mount({from}, \"\", {to}, \"\", {flags})"), errno)
    })
}
