// SPDX-License-Identifier: Apache-2.0
//! The way back: a directory as an archive, every file exactly: owners, modes, times, extended attributes, hard links,
//! devices. Everything is reached by descriptor, and nothing is followed: the tree may belong to a container that runs.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use errors::{Classify, Kind as ErrorKind, kind_of_io};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::EntryName;
use crate::metadata;
use crate::name::{OPAQUE, WHITEOUT};
use crate::pax::Time;
use crate::reader::{Entry, Kind};
use crate::writer::Writer;

/// The longest path, as the kernel and every reader of archives has it.
const MAX_PATH: usize = 4095;
/// The longest list of extended attributes, and the longest value of one, that the kernel gives (xattr(7)).
const MAX_XATTR: usize = 64 << 10;
const BUFFER: usize = 128 << 10;
const ZEROS: [u8; 4096] = [0; 4096];
/// overlayfs's mark on a directory that hides the layers below.
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// What a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form<'f> {
    /// A root file system, whole.
    Whole,
    /// What overlayfs keeps of changes: its whiteouts become those of a layer. Empty files of these names (relative,
    /// sorted or not) are left out: something was mounted on them.
    Changes {
        /// The names.
        mount_points: &'f [&'f str],
    },
}

/// Why a directory could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file cannot be read.
    #[error("cannot {operation} {name}")]
    System {
        /// What was tried: a verb.
        operation: &'static str,
        /// The file.
        name: EntryName,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be written to where it goes.
    #[error("cannot write the archive")]
    Output(#[source] io::Error),
    /// A path that no archive can hold.
    #[error("{0} has a path longer than {MAX_PATH} bytes")]
    TooLong(EntryName),
    /// A file whose name means something else in a layer.
    #[error("{0} has a name that marks a removed file in a layer")]
    Reserved(EntryName),
}

impl Classify for PackError {
    fn kind(&self) -> ErrorKind {
        match self {
            PackError::System { source, .. } | PackError::Output(source) => kind_of_io(source),
            PackError::TooLong(_) | PackError::Reserved(_) => ErrorKind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PackError::Reserved(_) => Some("rename or remove the file in the container".to_owned()),
            _ => None,
        }
    }
}

/// Writes what is in `root`, and `root` itself, into `archive`, in the order of the names. Sockets are left out: no
/// archive has them. A file that changes meanwhile has some content of the size that it had when its turn came.
///
/// # Errors
/// [`PackError`]. The archive is cut off then.
pub fn pack<W: Write>(root: BorrowedFd<'_>, form: Form<'_>, archive: &mut Writer<W>) -> Result<(), PackError> {
    pack_below(root, form, b"", archive)
}

/// The same of any directory, whole, under the relative name `name`.
///
/// # Errors
/// As those of [`pack`].
pub fn pack_as<W: Write>(root: BorrowedFd<'_>, name: &[u8], archive: &mut Writer<W>) -> Result<(), PackError> {
    pack_below(root, Form::Whole, name, archive)
}

/// Writes the one file `name` of the directory `parent`, which is none itself, under the relative name `known_as`.
///
/// # Errors
/// As those of [`pack`].
pub fn pack_one<W: Write>(
    parent: BorrowedFd<'_>,
    name: &CStr,
    known_as: &[u8],
    archive: &mut Writer<W>,
) -> Result<(), PackError> {
    let mut packer = Packer { archive, form: Form::Whole, linked: HashMap::new(), buffer: vec![0; BUFFER] };
    let parent = parent.try_clone_to_owned().map_err(|e| system("open the directory of", known_as, e))?;
    // It may have become a directory meanwhile: then what is in it stays behind.
    packer.add(&parent, name, known_as).map(drop)
}

fn pack_below<W: Write>(
    root: BorrowedFd<'_>,
    form: Form<'_>,
    name: &[u8],
    archive: &mut Writer<W>,
) -> Result<(), PackError> {
    let mut packer = Packer { archive, form, linked: HashMap::new(), buffer: vec![0; BUFFER] };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(root, ".", flags, Mode::empty()).map_err(|e| system("open", b".", e))?;
    let stat = rustix::fs::fstat(&root).map_err(|e| system("stat", b".", e))?;
    let mut path = name.to_vec();
    packer.directory(&root, &stat, &path)?;
    let mut open = vec![Level::new(root, 0, &path)?];
    while let Some(level) = open.last_mut() {
        let Some(name) = level.names.pop() else {
            path.truncate(level.parent);
            open.pop();
            continue;
        };
        let parent = path.len();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        if path.len() > MAX_PATH {
            return Err(PackError::TooLong(EntryName::new(&path)));
        }
        match packer.add(&level.directory, &name, &path)? {
            Some(directory) => open.push(Level::new(directory, parent, &path)?),
            None => path.truncate(parent),
        }
    }
    Ok(())
}

/// A directory whose files are being packed.
struct Level {
    directory: OwnedFd,
    /// What is left of it, the next one last.
    names: Vec<CString>,
    /// How long the path of the directory above is.
    parent: usize,
}

impl Level {
    fn new(directory: OwnedFd, parent: usize, path: &[u8]) -> Result<Level, PackError> {
        let names = names(directory.as_fd()).map_err(|e| system("list", path, e))?;
        Ok(Level { directory, names, parent })
    }
}

/// The names in a directory, in reverse order.
pub(crate) fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

fn system(operation: &'static str, path: &[u8], error: impl Into<io::Error>) -> PackError {
    PackError::System { operation, name: EntryName::new(path), source: error.into() }
}

struct Packer<'p, W> {
    archive: &'p mut Writer<W>,
    form: Form<'p>,
    /// The first name of each file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<'_, W> {
    /// Writes one file. The directory, when it is one.
    fn add(&mut self, parent: &OwnedFd, name: &CStr, path: &[u8]) -> Result<Option<OwnedFd>, PackError> {
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since the directory was read.
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(system("stat", path, error)),
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if let Form::Changes { mount_points } = self.form {
            if name.to_bytes().starts_with(WHITEOUT) {
                return Err(PackError::Reserved(EntryName::new(path)));
            }
            if file_type == FileType::CharacterDevice && stat.st_rdev == 0 {
                self.mark(path, name.to_bytes())?;
                return Ok(None);
            }
            let is_mount_point = || mount_points.iter().any(|point| point.as_bytes() == path);
            if file_type == FileType::RegularFile && stat.st_size == 0 && is_mount_point() {
                return Ok(None);
            }
        }
        match file_type {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
                    Ok(directory) => directory,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                    Err(error) => return Err(system("open", path, error)),
                };
                self.directory(&directory, &stat, path)?;
                return Ok(Some(directory));
            }
            FileType::Socket | FileType::Unknown => return Ok(None),
            _ => {}
        }
        if stat.st_nlink > 1 {
            let first = self.linked.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_vec());
            if first.as_slice() != path {
                let mut entry = entry(Kind::HardLink, path, &stat);
                entry.link.clone_from(first);
                return self.archive.entry(&entry).map(|()| None).map_err(PackError::Output);
            }
        }
        self.leaf(parent, name, path, &stat, file_type).map(|()| None)
    }

    fn directory(&mut self, directory: &OwnedFd, stat: &Stat, path: &[u8]) -> Result<(), PackError> {
        let mut entry = entry(Kind::Directory, path, stat);
        entry.xattrs = xattrs(directory, c".").map_err(|e| system("read the extended attributes of", path, e))?;
        self.archive.entry(&entry).map_err(PackError::Output)?;
        if matches!(self.form, Form::Changes { .. }) && is_opaque(directory) {
            let mark = Entry::new(Kind::File, [path, b"/", OPAQUE].concat(), 0o644);
            self.archive.entry(&mark).map_err(PackError::Output)?;
        }
        Ok(())
    }

    /// A whiteout for the file `name`, which is the end of `path`.
    fn mark(&mut self, path: &[u8], name: &[u8]) -> Result<(), PackError> {
        let directory = &path[..path.len() - name.len()];
        let mark = Entry::new(Kind::File, [directory, WHITEOUT, name].concat(), 0o644);
        self.archive.entry(&mark).map_err(PackError::Output)
    }

    fn leaf(
        &mut self,
        parent: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
        file_type: FileType,
    ) -> Result<(), PackError> {
        let kind = match file_type {
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            _ => return self.file(parent, name, path),
        };
        let mut entry = entry(kind, path, stat);
        match kind {
            Kind::Symlink => match rustix::fs::readlinkat(parent, name, Vec::new()) {
                Ok(target) => entry.link = target.into_bytes(),
                Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                Err(error) => return Err(system("read the link", path, error)),
            },
            Kind::CharDevice | Kind::BlockDevice => {
                entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            }
            _ => {}
        }
        entry.xattrs = xattrs(parent, name).map_err(|e| system("read the extended attributes of", path, e))?;
        self.archive.entry(&entry).map_err(PackError::Output)
    }

    fn file(&mut self, parent: &OwnedFd, name: &CStr, path: &[u8]) -> Result<(), PackError> {
        // Non-blocking, because it may have become a pipe meanwhile.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            Err(error) => return Err(system("open", path, error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| system("stat", path, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let mut entry = entry(Kind::File, path, &stat);
        entry.xattrs = xattrs(parent, name).map_err(|e| system("read the extended attributes of", path, e))?;
        self.archive.entry(&entry).map_err(PackError::Output)?;
        let mut left = entry.size;
        let mut file = std::fs::File::from(file).take(left);
        while left > 0 {
            let read = file.read(&mut self.buffer).map_err(|e| system("read", path, e))?;
            if read == 0 {
                break;
            }
            self.archive.data(&self.buffer[..read]).map_err(PackError::Output)?;
            left -= read as u64;
        }
        // It was cut off meanwhile.
        while left > 0 {
            let zeros = &ZEROS[..usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()))];
            self.archive.data(zeros).map_err(PackError::Output)?;
            left -= zeros.len() as u64;
        }
        Ok(())
    }
}

/// What stat(2) says, as an entry.
fn entry(kind: Kind, path: &[u8], stat: &Stat) -> Entry {
    let mut entry = Entry::new(kind, path, stat.st_mode & 0o7777);
    (entry.uid, entry.gid) = (stat.st_uid.into(), stat.st_gid.into());
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    entry.mtime = Time { seconds: stat.st_mtime, nanoseconds };
    if kind == Kind::File {
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
    }
    entry
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 1];
    rustix::fs::fgetxattr(directory, OPAQUE_XATTR, &mut value).is_ok_and(|length| value[..length] == *b"y")
}

/// The extended attributes of the file `name` itself, in the order of their names; without those that an image must not
/// set, which are overlayfs's and SELinux's.
fn xattrs(parent: &OwnedFd, name: &CStr) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // By this name of the directory the calls that take no descriptor reach the file, and follow nothing.
    let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name.to_bytes()].concat();
    let mut buffer = vec![0; 1024];
    let length = match rustix::fs::llistxattr(&*path, &mut buffer) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOENT) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            buffer.resize(MAX_XATTR, 0);
            rustix::fs::llistxattr(&*path, &mut buffer)?
        }
        result => result?,
    };
    let mut found = Vec::new();
    let mut value = vec![0; 256];
    let listed = buffer[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty() && metadata::allowed(name));
    for name in listed {
        let length = match rustix::fs::lgetxattr(&*path, name, &mut value) {
            Err(Errno::RANGE) => {
                value.resize(MAX_XATTR, 0);
                rustix::fs::lgetxattr(&*path, name, &mut value)
            }
            result => result,
        };
        match length {
            Ok(length) => found.push((name.to_vec(), value[..length].to_vec())),
            // Gone meanwhile.
            Err(Errno::NODATA | Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found)
}
