// SPDX-License-Identifier: Apache-2.0
//! What a directory is besides its content: read from one, given to another.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, StatxFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::store::DIRECTORY;

/// overlayfs's own attributes are about one layer, and no content.
const OVERLAY: &[u8] = b"trusted.overlay.";
/// The host's policy gives labels; images have none.
const LABEL: &[u8] = b"security.selinux";

/// Owner, mode, time of the last change, extended attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    modified: (i64, u32),
    xattrs: Vec<Xattr>,
}

/// A name and a value.
type Xattr = (Vec<u8>, Vec<u8>);

impl Attributes {
    /// Those of an open directory.
    pub(super) fn of(directory: BorrowedFd<'_>) -> Result<Attributes, Errno> {
        let fields = StatxFlags::MODE | StatxFlags::UID | StatxFlags::GID | StatxFlags::MTIME;
        let stat = rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH, fields)?;
        Ok(Attributes {
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mode: u32::from(stat.stx_mode) & 0o7777,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            xattrs: xattrs(directory)?,
        })
    }
}

fn xattrs(directory: BorrowedFd<'_>) -> Result<Vec<Xattr>, Errno> {
    // The most that the kernel gives of either (xattr(7)).
    let mut buffer = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(directory, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names: Vec<Vec<u8>> = buffer[..length].split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| !name.is_empty() && !name.starts_with(OVERLAY) && name != LABEL) {
        let length = rustix::fs::fgetxattr(directory, &*name, &mut buffer[..])?;
        found.push((name, buffer[..length].to_vec()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes the directory `path` (empty: the root, which is there) below `root`, and gives it all but its time.
pub(super) fn make(root: BorrowedFd<'_>, path: &[u8], attributes: &Attributes) -> Result<(), Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b"."[..], path),
    };
    let parent = rustix::fs::openat2(root, parent, DIRECTORY | OFlags::RDONLY, Mode::empty(), resolve)?;
    let name = if name.is_empty() { b"." } else { name };
    if name != b"." {
        rustix::fs::mkdirat(&parent, name, Mode::RWXU)?;
    }
    let made = rustix::fs::openat(&parent, name, DIRECTORY | OFlags::RDONLY, Mode::empty())?;
    rustix::fs::fchown(&made, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
    // After fchown, which clears set-id bits.
    rustix::fs::fchmod(&made, Mode::from_raw_mode(attributes.mode))?;
    for (name, value) in &attributes.xattrs {
        rustix::fs::fsetxattr(&made, &**name, value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Sets the time of the directory `path` below `root`.
pub(super) fn set_times(root: BorrowedFd<'_>, path: &[u8], attributes: &Attributes) -> Result<(), Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let path = if path.is_empty() { b"." } else { path };
    let directory = rustix::fs::openat2(root, path, DIRECTORY | OFlags::RDONLY, Mode::empty(), resolve)?;
    let (seconds, nanoseconds) = attributes.modified;
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    rustix::fs::futimens(&directory, &Timestamps { last_access: time, last_modification: time })
}
