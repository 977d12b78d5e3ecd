// SPDX-License-Identifier: Apache-2.0
//! Removing a whole tree by descriptors: whatever its depth, its modes and its names, without following a link and
//! without leaving its file system.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Removes `name` below the directory `parent`, with everything in it. Succeeds if there is nothing.
///
/// Two descriptors are enough for any depth: what is deeper than one level is moved up, below the tree's own root,
/// before it is emptied.
///
/// # Errors
/// What the system said: `EXDEV` or `EBUSY` for a mount point in the tree (nothing behind it is touched), `EPERM` for an
/// immutable file, `EROFS`.
pub fn remove_tree(parent: impl AsFd, name: impl Arg) -> io::Result<()> {
    let name = name.into_c_str()?;
    if unlink(&parent, &name)? == Unlinked::Gone {
        return Ok(());
    }
    let root = open(&parent, &name)?;
    let mut moved = 0;
    let mut idle = 0;
    // Every pass empties at least one level. One that removes nothing may happen when somebody else is at work here too.
    while idle < 16 {
        idle += 1;
        if empty(&root, &mut moved, &mut idle)? {
            match rustix::fs::unlinkat(&parent, &*name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Err(Errno::NOTEMPTY.into())
}

/// One pass over `root`. True if it found nothing.
fn empty(root: &OwnedFd, moved: &mut u64, idle: &mut u32) -> io::Result<bool> {
    let mut found = false;
    for entry in Dir::read_from(root)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_dot(name) {
            continue;
        }
        found = true;
        if unlink(root, name)? == Unlinked::Gone {
            *idle = 0;
            continue;
        }
        let below = open(root, name)?;
        for child in Dir::read_from(&below)? {
            let child = child?;
            if is_dot(child.file_name()) || unlink(&below, child.file_name())? == Unlinked::Gone {
                continue;
            }
            hoist(&below, child.file_name(), root, moved)?;
            *idle = 0;
        }
        match rustix::fs::unlinkat(root, name, AtFlags::REMOVEDIR) {
            Ok(()) => *idle = 0,
            // Entries that the listing missed because it was changed meanwhile: the next pass finds them.
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(!found)
}

/// Moves a directory that is not empty up to `root`, under a name that is free.
fn hoist(from: &OwnedFd, name: &CStr, root: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        let free = format!(".corten-removed-{moved}");
        *moved += 1;
        match rustix::fs::renameat_with(from, name, root, &free, rustix::fs::RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Unlinked {
    Gone,
    NotEmpty,
}

/// Removes a file or an empty directory.
fn unlink(parent: impl AsFd, name: &CStr) -> io::Result<Unlinked> {
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(Unlinked::Gone),
        // POSIX asks for EPERM where Linux says EISDIR; some file systems follow POSIX.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(Unlinked::Gone),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Unlinked::NotEmpty),
        // The first call's EPERM was about a file after all.
        Err(Errno::NOTDIR) => Err(Errno::PERM.into()),
        Err(error) => Err(error.into()),
    }
}

fn open(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)?)
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
