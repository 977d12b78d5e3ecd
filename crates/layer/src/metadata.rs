// SPDX-License-Identifier: Apache-2.0
//! Owners, modes, extended attributes and times of what was just made.
//!
//! The order matters: chown(2) clears set-id bits and file capabilities, so it comes first.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::UnpackError;
use crate::error::Refusal;
use crate::pax::Time;
use crate::reader::Entry;

/// Sets everything but the times of the open file or directory `fd`. Returns how many extended attributes were dropped.
pub(crate) fn apply(fd: BorrowedFd<'_>, entry: &Entry) -> Result<u64, UnpackError> {
    let (uid, gid) = owner(entry)?;
    rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(|e| UnpackError::system("chown", &entry.name, e))?;
    let dropped = xattrs(entry, |name, value| rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
        .map_err(|e| UnpackError::system("chmod", &entry.name, e))?;
    Ok(dropped)
}

/// The same, and the times, of a symbolic link: it has no mode.
pub(crate) fn apply_to_link(parent: impl AsFd, name: &[u8], entry: &Entry) -> Result<u64, UnpackError> {
    let (uid, gid) = owner(entry)?;
    rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| UnpackError::system("chown", &entry.name, e))?;
    let dropped = if entry.xattrs.is_empty() { 0 } else { apply_xattrs_at(&parent, name, entry)? };
    set_times_at(&parent, name, entry.mtime).map_err(|e| UnpackError::system("set the times of", &entry.name, e))?;
    Ok(dropped)
}

/// The same of a device or a pipe: opening one might do something.
pub(crate) fn apply_to_special(parent: impl AsFd, name: &[u8], entry: &Entry) -> Result<u64, UnpackError> {
    let (uid, gid) = owner(entry)?;
    let failed = |operation| move |e: Errno| UnpackError::system(operation, &entry.name, e);
    rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("chown"))?;
    let dropped = apply_xattrs_at(&parent, name, entry)?;
    let handle = handle(&parent, name).map_err(failed("open"))?;
    rustix::fs::chmod(magic_link(&handle), Mode::from_raw_mode(entry.mode)).map_err(failed("chmod"))?;
    set_times_at(&parent, name, entry.mtime).map_err(failed("set the times of"))?;
    Ok(dropped)
}

fn apply_xattrs_at(parent: impl AsFd, name: &[u8], entry: &Entry) -> Result<u64, UnpackError> {
    let handle = handle(parent, name).map_err(|e| UnpackError::system("open", &entry.name, e))?;
    let path = magic_link(&handle);
    xattrs(entry, |name, value| rustix::fs::setxattr(&*path, name, value, XattrFlags::empty()))
}

/// A descriptor that stands for the file itself, without opening it.
fn handle(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<std::os::fd::OwnedFd> {
    rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The calls that take no such descriptor take this name of it (proc_pid_fd(5)); it leads to the file, not further.
fn magic_link(handle: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())
}

/// Access and modification time of an open file.
pub(crate) fn set_times(fd: BorrowedFd<'_>, time: Time) -> rustix::io::Result<()> {
    rustix::fs::futimens(fd, &timestamps(time))
}

/// The times of `name` itself.
pub(crate) fn set_times_at(parent: impl AsFd, name: &[u8], time: Time) -> rustix::io::Result<()> {
    rustix::fs::utimensat(parent, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
}

fn timestamps(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn owner(entry: &Entry) -> Result<(Uid, Gid), UnpackError> {
    // 2^32 - 1 means "leave it" to the kernel, and is nobody's id.
    let id = |id: u64| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
    match (id(entry.uid), id(entry.gid)) {
        (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
        _ => Err(UnpackError::refused(&entry.name, Refusal::Owner)),
    }
}

/// Whether an image may set this attribute. overlayfs believes its own ones (redirects, metadata-only files, opaque
/// directories), so an archive that could set them could show a container files of other layers. A SELinux label is
/// the host's decision.
pub(crate) fn allowed(name: &[u8]) -> bool {
    !(name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") || name == b"security.selinux")
}

fn xattrs(entry: &Entry, set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>) -> Result<u64, UnpackError> {
    let mut dropped = 0;
    for (name, value) in &entry.xattrs {
        if !allowed(name) {
            dropped += 1;
            continue;
        }
        match set(name, value) {
            Ok(()) => {}
            // The file system has no such attributes, or not on this type of file. A program that loses its
            // capabilities would fail much later, and nobody would know why.
            Err(Errno::OPNOTSUPP | Errno::PERM) if name != b"security.capability" => dropped += 1,
            Err(Errno::INVAL | Errno::RANGE | Errno::TOOBIG | Errno::NAMETOOLONG) => {
                return Err(UnpackError::refused(&entry.name, Refusal::Xattr));
            }
            Err(error) => return Err(UnpackError::system("set an extended attribute of", &entry.name, error)),
        }
    }
    Ok(dropped)
}
