// SPDX-License-Identifier: Apache-2.0
//! `tmpcopyup`: a tmpfs that begins with a copy of the directory it covers.
//!
//! The tmpfs is attached nowhere while it is filled, and both sides are walked by descriptor, one name at a time: no
//! link is followed, whoever made the image and whatever changes meanwhile. How much is copied, the tmpfs's own size
//! and number of inodes bound; how deep, a constant.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::StepError;
use super::mounts::stat;

/// Deeper than any image; every level holds two descriptors.
const DEEPEST: usize = 200;

/// Copies what is in the directory `from` into the new file system `to`; with `owned`, its owner as well.
pub(crate) fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>, owned: bool) -> Result<(), StepError> {
    let source = open(from, c".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let target = open(to, c".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut copier = Copier { root: target.as_fd(), links: HashMap::new() };
    copier.directory(&source, &target, Path::new(""))?;
    let metadata = stat(&source)?;
    if owned {
        own(&target, &metadata)?;
        // Changing the owner may have taken bits away.
        mode(&target, &stat(&target)?)?;
    }
    times(&target, &metadata)
}

/// Gives the directory `to` the owner, permissions, extended attributes and times of `from`.
pub(crate) fn take_after(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), StepError> {
    let source = open(from, c".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    finish(&source, &open(to, c".", OFlags::RDONLY | OFlags::DIRECTORY)?)
}

struct Copier<'a> {
    root: BorrowedFd<'a>,
    /// Where the first copy of a file with several names is, by device and inode of the original.
    links: HashMap<(u64, u64), PathBuf>,
}

fn failed(call: &str, name: &OsStr) -> impl FnOnce(Errno) -> StepError {
    move |errno| sys::Error::new(format!("{call}({name:?})"), errno).into()
}

fn open(directory: impl AsFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, StepError> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty()).map_err(failed("openat", OsStr::from_bytes(name.to_bytes())))
}

impl Copier<'_> {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, at: &Path) -> Result<(), StepError> {
        if at.components().count() > DEEPEST {
            return Err(StepError::NotExpected { path: at.into(), expected: "within 200 levels of directories" });
        }
        let entries = Dir::read_from(from).map_err(failed("getdents64", at.as_os_str()))?;
        for entry in entries {
            let entry = entry.map_err(failed("getdents64", at.as_os_str()))?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                self.entry(from, to, name, &at.join(OsStr::from_bytes(name.to_bytes())))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, at: &Path) -> Result<(), StepError> {
        let text = OsStr::from_bytes(name.to_bytes());
        let metadata = match statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone meanwhile.
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(failed("fstatat", text))?,
        };
        let kind = FileType::from_raw_mode(metadata.st_mode);
        let number = (metadata.st_dev, metadata.st_ino);
        if kind != FileType::Directory && metadata.st_nlink > 1 {
            if let Some(first) = self.links.get(&number) {
                return linkat(self.root, first, to, name, AtFlags::empty()).map_err(failed("linkat", text));
            }
            self.links.insert(number, at.to_owned());
        }
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::from_raw_mode(0o700)).map_err(failed("mkdirat", text))?;
                let source = open(from, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                let target = open(to, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                self.directory(&source, &target, at)?;
                finish(&source, &target)
            }
            FileType::RegularFile => {
                // What was a file when it was looked at may be a fifo by now, which must not be waited for.
                let source = open(from, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let target =
                    openat(to, name, flags, Mode::from_raw_mode(0o600)).map_err(failed("openat(O_CREAT)", text))?;
                contents(source.as_fd(), target.as_fd(), text)?;
                finish(&source, &target)
            }
            FileType::Symlink => {
                let link = readlinkat(from, name, Vec::new()).map_err(failed("readlinkat", text))?;
                symlinkat(&link, to, name).map_err(failed("symlinkat", text))?;
                named(to, name, &metadata)
            }
            kind => {
                let permissions = Mode::from_raw_mode(metadata.st_mode & 0o7777);
                mknodat(to, name, kind, permissions, metadata.st_rdev).map_err(failed("mknodat", text))?;
                named(to, name, &metadata)
            }
        }
    }
}

fn contents(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> Result<(), StepError> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length =
            rustix::io::retry_on_intr(|| rustix::io::read(from, &mut buffer[..])).map_err(failed("read", name))?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(to, rest)).map_err(failed("write", name))?;
            rest = &rest[written..];
        }
    }
}

/// Owner, permissions, extended attributes and times, in the order in which none takes from another.
fn finish(from: &OwnedFd, to: &OwnedFd) -> Result<(), StepError> {
    let metadata = stat(from)?;
    own(to, &metadata)?;
    mode(to, &metadata)?;
    attributes(from, to)?;
    times(to, &metadata)
}

fn own(to: &OwnedFd, metadata: &Stat) -> Result<(), StepError> {
    let (uid, gid) = (Uid::from_raw(metadata.st_uid), Gid::from_raw(metadata.st_gid));
    fchown(to, Some(uid), Some(gid)).map_err(failed("fchown", OsStr::new("the copy")))
}

fn mode(to: &OwnedFd, metadata: &Stat) -> Result<(), StepError> {
    fchmod(to, Mode::from_raw_mode(metadata.st_mode & 0o7777)).map_err(failed("fchmod", OsStr::new("the copy")))
}

fn timestamps(metadata: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: metadata.st_atime, tv_nsec: metadata.st_atime_nsec.try_into().unwrap_or(0) },
        last_modification: Timespec {
            tv_sec: metadata.st_mtime,
            tv_nsec: metadata.st_mtime_nsec.try_into().unwrap_or(0),
        },
    }
}

fn times(to: &OwnedFd, metadata: &Stat) -> Result<(), StepError> {
    futimens(to, &timestamps(metadata)).map_err(failed("utimensat", OsStr::new("the copy")))
}

/// What has no descriptor of its own to be changed by.
fn named(to: &OwnedFd, name: &CStr, metadata: &Stat) -> Result<(), StepError> {
    let text = OsStr::from_bytes(name.to_bytes());
    let (uid, gid) = (Uid::from_raw(metadata.st_uid), Gid::from_raw(metadata.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("fchownat", text))?;
    utimensat(to, name, &timestamps(metadata), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("utimensat", text))
}

/// Extended attributes, as far as the tmpfs has them: one without them keeps none, and labels are the security module's
/// to give.
fn attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), StepError> {
    const LARGEST: usize = 64 * 1024;
    let mut names = Vec::with_capacity(LARGEST);
    match flistxattr(from, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(failed("flistxattr", OsStr::new("the original"))(errno)),
    }
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let text = OsStr::from_bytes(name);
        let mut value = Vec::with_capacity(LARGEST);
        fgetxattr(from, name, rustix::buffer::spare_capacity(&mut value)).map_err(failed("fgetxattr", text))?;
        match fsetxattr(to, name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(Errno::PERM | Errno::ACCESS) if name.starts_with(b"security.") || name.starts_with(b"trusted.") => {}
            Err(errno) => return Err(failed("fsetxattr", text)(errno)),
        }
    }
    Ok(())
}
