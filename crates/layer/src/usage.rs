// SPDX-License-Identifier: Apache-2.0
//! What a directory takes on disk.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::pack::names;

/// The unit of `st_blocks`, in bytes (stat(2)).
const BLOCK: u64 = 512;

/// Bytes on disk of everything in `directory` and of itself: holes cost nothing, a file with several names counts once.
/// What vanishes meanwhile is passed over.
///
/// # Errors
/// A directory cannot be read.
pub fn disk_usage(directory: BorrowedFd<'_>) -> io::Result<u64> {
    measure(directory, true)
}

/// The same without what directories themselves take: nothing for one that has only empty directories in it.
///
/// # Errors
/// A directory cannot be read.
pub fn file_usage(directory: BorrowedFd<'_>) -> io::Result<u64> {
    measure(directory, false)
}

fn measure(directory: BorrowedFd<'_>, with_directories: bool) -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    let mut total = if with_directories { bytes(rustix::fs::fstat(&root)?.st_blocks) } else { 0 };
    let mut seen = HashSet::new();
    let mut open: Vec<(OwnedFd, Vec<_>)> = Vec::new();
    let first = names(root.as_fd())?;
    open.push((root, first));
    while let Some((directory, left)) = open.last_mut() {
        let Some(name) = left.pop() else {
            open.pop();
            continue;
        };
        let stat = match rustix::fs::statat(&*directory, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let counts =
            if is_directory { with_directories } else { stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) };
        if counts {
            total += bytes(stat.st_blocks);
        }
        if is_directory {
            match rustix::fs::openat(&*directory, &*name, flags, Mode::empty()) {
                Ok(inner) => {
                    let names = names(inner.as_fd())?;
                    open.push((inner, names));
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(total)
}

fn bytes(blocks: i64) -> u64 {
    u64::try_from(blocks).unwrap_or(0).saturating_mul(BLOCK)
}
