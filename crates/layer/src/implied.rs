// SPDX-License-Identifier: Apache-2.0
//! Directories that an archive uses and does not describe. What they are is for the layers below to say, so whoever
//! stacks layers must know which they are.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::UnpackError;
use crate::pack::names;

/// Bytes of their names, all together.
const MAX_BYTES: usize = 16 << 20;

/// Their paths, below the root and relative to it; the root's own is empty.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    all: Vec<Vec<u8>>,
    bytes: usize,
}

impl Paths {
    pub(crate) fn push(&mut self, path: Vec<u8>) -> Result<(), UnpackError> {
        self.bytes += path.len() + size_of::<Vec<u8>>();
        if self.bytes > MAX_BYTES {
            let what = "bytes of names of directories that it does not describe";
            return Err(UnpackError::Limit { what, limit: MAX_BYTES as u64 });
        }
        self.all.push(path);
        Ok(())
    }

    /// All of them, sorted.
    pub(crate) fn finish(mut self) -> Vec<Vec<u8>> {
        self.all.sort_unstable();
        self.all
    }
}

/// Adds the paths of those directories below `root` that have these inode numbers.
pub(crate) fn find(root: BorrowedFd<'_>, inodes: &HashSet<u64>, paths: &mut Paths) -> Result<(), UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |path: &[u8], error: Errno| UnpackError::system("list", path, error);
    let mut missing = inodes.len();
    let mut open: Vec<(OwnedFd, Vec<u8>, Vec<_>)> = Vec::new();
    let directory = rustix::fs::openat(root, ".", flags, Mode::empty()).map_err(|error| failed(b".", error))?;
    let list = |fd: &OwnedFd, path: &[u8]| names(fd.as_fd()).map_err(|error| failed(path, error));
    let first = list(&directory, b".")?;
    open.push((directory, Vec::new(), first));
    while missing > 0
        && let Some((directory, path, left)) = open.last_mut()
    {
        let Some(name) = left.pop() else {
            open.pop();
            continue;
        };
        let stat = rustix::fs::statat(&*directory, &*name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|error| failed(path, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let mut inner_path = path.clone();
        if !inner_path.is_empty() {
            inner_path.push(b'/');
        }
        inner_path.extend_from_slice(name.to_bytes());
        if inodes.contains(&stat.st_ino) {
            paths.push(inner_path.clone())?;
            missing -= 1;
        }
        let inner = rustix::fs::openat(&*directory, &*name, flags, Mode::empty());
        let inner = inner.map_err(|error| failed(&inner_path, error))?;
        let names = list(&inner, &inner_path)?;
        open.push((inner, inner_path, names));
    }
    Ok(())
}
