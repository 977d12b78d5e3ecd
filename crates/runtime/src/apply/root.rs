// SPDX-License-Identifier: Apache-2.0
//! The root file system: put on top of the host's, and later made the only one.
//!
//! It is mounted over `/`, not over a directory of the host: that needs no directory, and lookups of the host's paths
//! still start at the host's root, which is below. `pivot_root(".", ".")` then exchanges the two.
//! Where the host's root is a peer of the host's own (`rootfsPropagation` of `shared`), whatever is mounted over it would
//! arrive there: then it is bound over its own directory, whose mount is made private first, as runc does it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use sys::mount::{ATTR_RDONLY, Attributes, Propagation};

use super::files::Files;
use super::interfaces;
use super::mounts::{host_tree, new_mount};
use super::{StepError, abandon};
use crate::plan::RootSource;
use crate::resolve::Leaf;

/// Makes every mount of the new namespace a slave of the host's: what the host mounts still arrives until its root is
/// let go of, what the container mounts does not leave.
pub(super) fn detach_propagation() -> Result<(), StepError> {
    host_propagation(Propagation::Slave, true)
}

pub(super) fn host_propagation(propagation: Propagation, recursive: bool) -> Result<(), StepError> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| sys::Error::new("open(\"/\", O_PATH)", errno))?;
    Ok(sys::mount::setattr(root.as_fd(), recursive, &spread(propagation))?)
}

fn spread(propagation: Propagation) -> Attributes {
    Attributes { propagation: Some(propagation), ..Attributes::default() }
}

fn read_mountinfo() -> sys::Result<Vec<u8>> {
    const PATH: &str = "/proc/self/mountinfo";
    let file = rustix::fs::open(PATH, OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| sys::Error::new(format!("open({PATH:?}, O_RDONLY)"), errno))?;
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer))
            .map_err(|errno| sys::Error::new(format!("read({PATH:?})"), errno))?;
        if read == 0 {
            return Ok(text);
        }
        text.extend_from_slice(&buffer[..read]);
    }
}

/// Makes the mount that `path` is on private: what is mounted there then stays in this namespace.
fn make_private(path: &Path) -> Result<(), StepError> {
    for place in path.ancestors() {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let mount = rustix::fs::open(place, flags, rustix::fs::Mode::empty())
            .map_err(|errno| sys::Error::new(format!("open({place:?}, O_PATH)"), errno))?;
        match sys::mount::setattr(mount.as_fd(), false, &spread(Propagation::Private)) {
            // Not the root of a mount: that is further up.
            Err(error) if error.errno() == Errno::INVAL && place != Path::new("/") => {}
            other => return Ok(other?),
        }
    }
    Ok(())
}

fn detached_root(
    source: &RootSource,
    given: Option<BorrowedFd<'_>>,
    opened: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, StepError> {
    let given = match source {
        RootSource::Path(path) => return Ok(host_tree(path, true)?),
        RootSource::Given => given,
        RootSource::Opened(_) => opened,
    };
    let given = given.ok_or(StepError::NotProvided { what: "a root file system" })?;
    Ok(rustix::io::fcntl_dupfd_cloexec(given, 3)
        .map_err(|errno| sys::Error::new("fcntl(rootfs, F_DUPFD_CLOEXEC, 3)", errno))?)
}

impl Files {
    pub(super) fn attach_root(
        &mut self,
        source: &RootSource,
        given: Option<BorrowedFd<'_>>,
        opened: Option<BorrowedFd<'_>>,
    ) -> Result<(), StepError> {
        let root = detached_root(source, given, opened)?;
        // pivot_root wants a root that is not shared. One that is a slave still receives what is mounted in it outside.
        sys::mount::setattr(root.as_fd(), false, &spread(Propagation::Slave))?;
        move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(|errno| {
            sys::Error::new("move_mount(rootfs, \"\", AT_FDCWD, \"/\", MOVE_MOUNT_F_EMPTY_PATH)", errno)
        })?;
        self.root = Some(root);
        Ok(())
    }

    /// From Linux 6.15 on, what is attached nowhere can be mounted on.
    pub(super) fn clone_root(
        &mut self,
        source: &RootSource,
        given: Option<BorrowedFd<'_>>,
        opened: Option<BorrowedFd<'_>>,
    ) -> Result<(), StepError> {
        let root = detached_root(source, given, opened)?;
        sys::mount::setattr(root.as_fd(), true, &spread(Propagation::Private))?;
        self.root = Some(root);
        Ok(())
    }

    pub(super) fn attach_root_in_place(&mut self, path: &Path) -> Result<(), StepError> {
        make_private(path)?;
        let root = host_tree(path, true)?;
        sys::mount::setattr(root.as_fd(), false, &spread(Propagation::Private))?;
        move_mount(&root, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(|errno| {
            sys::Error::new(format!("move_mount(rootfs, \"\", AT_FDCWD, {path:?}, MOVE_MOUNT_F_EMPTY_PATH)"), errno)
        })?;
        self.root = Some(root);
        Ok(())
    }

    /// The root that is given, at the place where hooks look for it.
    pub(super) fn attach_given_root_at(&mut self, path: &Path, given: Option<BorrowedFd<'_>>) -> Result<(), StepError> {
        make_private(path)?;
        let root = detached_root(&RootSource::Given, given, None)?;
        sys::mount::setattr(root.as_fd(), false, &spread(Propagation::Private))?;
        move_mount(&root, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(|errno| {
            sys::Error::new(format!("move_mount(rootfs, \"\", AT_FDCWD, {path:?}, MOVE_MOUNT_F_EMPTY_PATH)"), errno)
        })?;
        self.root = Some(root);
        Ok(())
    }

    pub(super) fn read_only_root(&self) -> Result<(), StepError> {
        let root = self.root.as_ref().ok_or(StepError::NotProvided { what: "a root" })?;
        sys::mount::setattr(root.as_fd(), false, &Attributes { set: ATTR_RDONLY, ..Attributes::default() })?;
        Ok(())
    }

    pub(super) fn read_only_mount(&self, path: &Path) -> Result<(), StepError> {
        let mount = self.root()?.open(path, OFlags::PATH)?;
        sys::mount::setattr(mount.as_fd(), false, &Attributes { set: ATTR_RDONLY, ..Attributes::default() })?;
        Ok(())
    }

    pub(super) fn make_working_directory(&self, path: &Path) -> Result<(), StepError> {
        match self.root()?.ensure(path, Leaf::Directory) {
            // Root may be forbidden what the user is not (NFS). Entering it will tell.
            Err(error) if error.errno() == Errno::ACCESS => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    /// With `peers`, the host's mounts still are its peers: what is done to them here would be done to it.
    pub(super) fn pivot_root(&mut self, peers: bool) -> Result<(), StepError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let host = peers.then(|| rustix::fs::open("/", flags, rustix::fs::Mode::empty())).transpose();
        let host = host.map_err(|errno| sys::Error::new("open(\"/\", O_PATH)", errno))?;
        self.enter_root()?;
        rustix::process::pivot_root(".", ".").map_err(|errno| sys::Error::new("pivot_root(\".\", \".\")", errno))?;
        if let Some(host) = host {
            sys::mount::setattr(host.as_fd(), true, &spread(Propagation::Slave))?;
        }
        // The old root now lies on top of the new one, which is still the working directory.
        unmount(".", UnmountFlags::DETACH).map_err(|errno| sys::Error::new("umount2(\".\", MNT_DETACH)", errno))?;
        rustix::process::chdir("/").map_err(|errno| sys::Error::new("chdir(\"/\")", errno))?;
        Ok(())
    }

    /// Unmounts every whole procfs and sysfs outside the container's root; one that a user namespace may not unmount is
    /// covered.
    pub(super) fn hide_interfaces(&self) -> Result<(), StepError> {
        let root = self.root.as_ref().ok_or(StepError::NotProvided { what: "a root" })?;
        let known = statx(root, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
            .map_err(|errno| sys::Error::new("statx(rootfs, AT_EMPTY_PATH, STATX_MNT_ID)", errno))?;
        let text = read_mountinfo()?;
        for place in interfaces::outside(&text, known.stx_mnt_id) {
            // It is its parent that tells its peers of the end of a mount.
            make_private(place.parent().unwrap_or(Path::new("/")))?;
            match unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Err(Errno::PERM | Errno::INVAL) => {
                    let cover = new_mount("tmpfs", Some("tmpfs"), &[("size", Some("0"))], ATTR_RDONLY)?;
                    move_mount(&cover, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(|errno| {
                        sys::Error::new(format!("move_mount(tmpfs, \"\", AT_FDCWD, {place:?})"), errno)
                    })
                }
                other => other.map_err(|errno| sys::Error::new(format!("umount2({place:?}, MNT_DETACH)"), errno)),
            }?;
        }
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
        sys::mount::setattr(root.as_fd(), recursive, &spread(propagation))?;
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
