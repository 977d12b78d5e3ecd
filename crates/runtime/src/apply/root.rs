// SPDX-License-Identifier: Apache-2.0
//! The root file system: put on top of the host's, and later made the only one.
//!
//! It is mounted over `/`, not over a directory of the host: that needs no directory, and lookups of the host's paths
//! still start at the host's root, which is below. `pivot_root(".", ".")` then exchanges the two.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{CWD, OFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use sys::mount::{ATTR_RDONLY, Attributes, Propagation};

use super::files::Files;
use super::mounts::host_tree;
use super::{StepError, abandon};
use crate::plan::RootSource;

/// Makes every mount of the new namespace a slave of the host's: what the host mounts still arrives until its root is
/// let go of, what the container mounts does not leave.
pub(super) fn detach_propagation() -> Result<(), StepError> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| sys::Error::new("open(\"/\", O_PATH)", errno))?;
    let slave = Attributes { propagation: Some(Propagation::Slave), ..Attributes::default() };
    sys::mount::setattr(root.as_fd(), true, &slave)?;
    Ok(())
}

impl Files {
    pub(super) fn attach_root(
        &mut self,
        source: &RootSource,
        given: Option<BorrowedFd<'_>>,
        opened: Option<BorrowedFd<'_>>,
    ) -> Result<(), StepError> {
        let root = match source {
            RootSource::Given | RootSource::Opened(_) => {
                let given = if *source == RootSource::Given { given } else { opened };
                let given = given.ok_or(StepError::NotProvided { what: "a root file system" })?;
                rustix::io::fcntl_dupfd_cloexec(given, 3)
                    .map_err(|errno| sys::Error::new("fcntl(rootfs, F_DUPFD_CLOEXEC, 3)", errno))?
            }
            RootSource::Path(path) => host_tree(path, true)?,
        };
        let private = Attributes { propagation: Some(Propagation::Private), ..Attributes::default() };
        // pivot_root wants a root that is not shared; below it, what the host's directory carried stays a slave.
        sys::mount::setattr(root.as_fd(), false, &private)?;
        move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(|errno| {
            sys::Error::new("move_mount(rootfs, \"\", AT_FDCWD, \"/\", MOVE_MOUNT_F_EMPTY_PATH)", errno)
        })?;
        self.root = Some(root);
        Ok(())
    }

    pub(super) fn read_only_root(&self) -> Result<(), StepError> {
        let root = self.root.as_ref().ok_or(StepError::NotProvided { what: "a root" })?;
        sys::mount::setattr(root.as_fd(), false, &Attributes { set: ATTR_RDONLY, ..Attributes::default() })?;
        Ok(())
    }

    pub(super) fn pivot_root(&mut self) -> Result<(), StepError> {
        self.enter_root()?;
        rustix::process::pivot_root(".", ".").map_err(|errno| sys::Error::new("pivot_root(\".\", \".\")", errno))?;
        // The old root now lies on top of the new one, which is still the working directory.
        unmount(".", UnmountFlags::DETACH).map_err(|errno| sys::Error::new("umount2(\".\", MNT_DETACH)", errno))?;
        rustix::process::chdir("/").map_err(|errno| sys::Error::new("chdir(\"/\")", errno))?;
        Ok(())
    }

    pub(super) fn change_root(&mut self) -> Result<(), StepError> {
        self.enter_root()?;
        rustix::process::chroot(".").map_err(|errno| sys::Error::new("chroot(\".\")", errno))?;
        rustix::process::chdir("/").map_err(|errno| sys::Error::new("chdir(\"/\")", errno))?;
        Ok(())
    }

    pub(super) fn root_propagation(&self, propagation: Propagation, recursive: bool) -> Result<(), StepError> {
        let root = self.root.as_ref().ok_or(StepError::NotProvided { what: "a root" })?;
        let attributes = Attributes { propagation: Some(propagation), ..Attributes::default() };
        sys::mount::setattr(root.as_fd(), recursive, &attributes)?;
        Ok(())
    }

    fn enter_root(&self) -> Result<(), StepError> {
        let root = self.root.as_ref().ok_or(StepError::NotProvided { what: "a root" })?;
        rustix::process::fchdir(root).map_err(|errno| sys::Error::new("fchdir(rootfs)", errno))?;
        Ok(())
    }

    /// Forgets all descriptors, which are about to be closed by number.
    pub(super) fn abandon(&mut self) {
        abandon(std::mem::take(self));
    }
}
