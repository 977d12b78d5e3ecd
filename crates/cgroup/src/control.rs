// SPDX-License-Identifier: Apache-2.0
//! Control files and directories, always relative to an open directory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Longest control file read. The longest in practice, `cgroup.procs` of thousands of processes, stay far below.
const MAX_FILE: u64 = 16 << 20;

/// Opens the directory `path`, which must lie below `at` with no symbolic link on the way.
pub(crate) fn open_dir(at: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open_below(at.as_fd(), path, flags)
}

/// Opens the control file `file` for reading.
pub(crate) fn open_read(dir: impl AsFd, file: &str) -> io::Result<OwnedFd> {
    open_below(dir.as_fd(), file, OFlags::RDONLY | OFlags::CLOEXEC)
}

/// Opens the control file `file` for writing. It is never created: control files exist or they do not.
pub(crate) fn open_write(dir: impl AsFd, file: &str) -> io::Result<OwnedFd> {
    open_below(dir.as_fd(), file, OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC)
}

fn open_below(at: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match fs::openat2(at, path, flags | OFlags::NOFOLLOW, Mode::empty(), resolve) {
            // openat2(2): a rename anywhere made the kernel unsure; it asks to be called again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Older sandboxes forbid openat2. Control groups have no symbolic links and the path has no `..`.
            Err(Errno::NOSYS) => return Ok(fs::openat(at, path, flags | OFlags::NOFOLLOW, Mode::empty())?),
            result => return Ok(result?),
        }
    }
}

/// The content of the control file `file`, without the newline at its end.
pub(crate) fn read(dir: impl AsFd, file: &str) -> io::Result<String> {
    let opened = open_read(dir, file)?;
    // Most are short: then one read has it all.
    let mut text = String::with_capacity(1024);
    File::from(opened).take(MAX_FILE).read_to_string(&mut text)?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// Writes `value` to the control file `file` in one call, as the kernel wants it.
pub(crate) fn write(dir: impl AsFd, file: &str, value: &str) -> io::Result<()> {
    write_all(&File::from(open_write(dir, file)?), value)
}

/// Writes `value` to an open control file in one call.
pub(crate) fn write_all(mut file: &File, value: &str) -> io::Result<()> {
    file.write_all(value.as_bytes())
}

/// Makes the directory `path` below `at`.
pub(crate) fn make_dir(at: impl AsFd, path: &str) -> io::Result<()> {
    Ok(fs::mkdirat(at, path, Mode::from_raw_mode(0o755))?)
}

/// Removes the directory `path` below `at`, which must have neither processes nor children.
pub(crate) fn remove_dir(at: impl AsFd, path: &str) -> io::Result<()> {
    Ok(fs::unlinkat(at, path, AtFlags::REMOVEDIR)?)
}

/// The names of a cgroup's children.
pub(crate) fn children(dir: impl AsFd) -> io::Result<Vec<String>> {
    names(dir, FileType::Directory)
}

/// The names of a cgroup's control files.
pub(crate) fn files(dir: impl AsFd) -> io::Result<Vec<String>> {
    names(dir, FileType::RegularFile)
}

fn names(dir: impl AsFd, kind: FileType) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == kind && !matches!(name, b"." | b"..") {
            // A name that is no text was not made by us or by anything sane; mkdir takes it, so it must be removable.
            names.push(std::str::from_utf8(name).map_err(io::Error::other)?.to_owned());
        }
    }
    Ok(names)
}

/// Calls `visit` with the cgroup `dir` and everything below it, parents first. A child that goes away meanwhile is
/// passed over.
pub(crate) fn walk(dir: BorrowedFd<'_>, visit: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
    visit(dir)?;
    // A directory's link count is two more than its subdirectories'. Mostly there are none, and listing costs.
    if fs::fstat(dir)?.st_nlink == 2 {
        return Ok(());
    }
    for child in children(dir)? {
        match open_dir(dir, &child) {
            Ok(opened) => match walk(opened.as_fd(), visit) {
                Err(error) if is_gone(&error) => {}
                result => result?,
            },
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Does the error say that the cgroup was removed? Its open files answer ENODEV from then on.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    is(error, Errno::NOENT) || is(error, Errno::NODEV)
}

/// Is it this error of the kernel's?
pub(crate) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
