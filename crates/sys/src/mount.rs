// SPDX-License-Identifier: Apache-2.0
//! Changing attributes of mounts by descriptor (mount_setattr(2), Linux 5.12).

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Result, check};

/// Not writable.
pub const ATTR_RDONLY: u64 = 0x0000_0001;
/// Set-user-ID and file capabilities have no effect.
pub const ATTR_NOSUID: u64 = 0x0000_0002;
/// Device files cannot be opened.
pub const ATTR_NODEV: u64 = 0x0000_0004;
/// Programs cannot be executed.
pub const ATTR_NOEXEC: u64 = 0x0000_0008;
/// The field that says how access times are kept; 0 in it is `relatime`.
pub const ATTR_ATIME: u64 = 0x0000_0070;
/// Access times are not kept.
pub const ATTR_NOATIME: u64 = 0x0000_0010;
/// Access times are always kept.
pub const ATTR_STRICTATIME: u64 = 0x0000_0020;
/// Access times of directories are not kept.
pub const ATTR_NODIRATIME: u64 = 0x0000_0080;
/// Symbolic links are not followed (Linux 5.14).
pub const ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

/// How mounts made below spread to other mounts (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// To and from the peers.
    Shared,
    /// From the peers only.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and the mount cannot be bound elsewhere.
    Unbindable,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// What to change: `ATTR_…` flags to set and to clear, and the propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Flags to set.
    pub set: u64,
    /// Flags to clear, before the others are set. Must be all of [`ATTR_ATIME`] for `set` to change that field.
    pub clear: u64,
    /// The new propagation; `None` leaves it.
    pub propagation: Option<Propagation>,
}

impl Attributes {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Attributes::default()
    }
}

/// The attributes, as `ATTR_…`, that `mount` has and that the kernel might have locked; how access times are kept
/// counts as one.
pub fn locked(mount: BorrowedFd<'_>) -> Result<u64> {
    let vfs = rustix::fs::fstatvfs(mount)
        .map_err(|errno| crate::Error::new(format!("fstatvfs({})", mount.as_raw_fd()), errno))?;
    // `ST_NOSYMFOLLOW` (linux/statfs.h) is not among those that the C library knows.
    const NOSYMFOLLOW: u64 = 0x2000;
    let flags = vfs.f_flag.bits();
    let all = [
        (libc::ST_RDONLY, ATTR_RDONLY),
        (libc::ST_NOSUID, ATTR_NOSUID),
        (libc::ST_NODEV, ATTR_NODEV),
        (libc::ST_NOEXEC, ATTR_NOEXEC),
        (NOSYMFOLLOW, ATTR_NOSYMFOLLOW),
    ];
    let found = all.iter().filter(|(flag, _)| flags & flag != 0).fold(0, |found, (_, attribute)| found | attribute);
    Ok(found | ATTR_ATIME | ATTR_NODIRATIME)
}

/// `MOUNT_ATTR_IDMAP` (linux/mount.h).
const ATTR_IDMAP: u64 = 0x0010_0000;

/// Shows the files of the mount whose root `mount` is, and with `recursive` of all below it, with the ids of a user
/// namespace (mount_setattr(2), "ID-mapped mounts"). The mount must be detached.
pub fn map_ids(mount: BorrowedFd<'_>, recursive: bool, namespace: BorrowedFd<'_>) -> Result<()> {
    let number = namespace.as_raw_fd();
    let kernel =
        MountAttr { attr_set: ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd: u64::try_from(number).unwrap_or(0) };
    mount_setattr(mount, recursive, &kernel, || format!("attr_set=MOUNT_ATTR_IDMAP, userns_fd={number}"))
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the attributes of the mount whose root `mount` is, and with `recursive` of all below it.
pub fn setattr(mount: BorrowedFd<'_>, recursive: bool, attributes: &Attributes) -> Result<()> {
    let kernel = MountAttr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation.map_or(0, Propagation::bits),
        userns_fd: 0,
    };
    mount_setattr(mount, recursive, &kernel, || {
        let Attributes { set, clear, propagation } = attributes;
        format!("attr_set={set:#x}, attr_clr={clear:#x}, propagation={propagation:?}")
    })
}

fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    kernel: &MountAttr,
    described: impl FnOnce() -> String,
) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: an open descriptor, an empty string, and a struct of the size given, all of which outlive the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(kernel),
            size_of::<MountAttr>(),
        )
    };
    check(returned, || {
        let recursive = if recursive { "|AT_RECURSIVE" } else { "" };
        format!("mount_setattr({}, \"\", AT_EMPTY_PATH{recursive}, {{{}}})", mount.as_raw_fd(), described())
    })
    .map(drop)
}
