// SPDX-License-Identifier: Apache-2.0
//! The directory being filled. Every name is resolved below its descriptor; a symbolic link on the way is followed as
//! if that directory were `/`, as it will be for the container.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags};
use rustix::io::Errno;

use crate::error::Refusal;
use crate::implied::{self, Paths};
use crate::metadata;
use crate::name::{self, Meaning};
use crate::pax::Time;
use crate::reader::{Archive, Entry, Kind};
use crate::{Limits, UnpackError};

/// Descriptors of directories kept open: archives go through a tree directory by directory.
const CACHED_PARENTS: usize = 64;
/// Bytes of names kept for setting directories' times at the end.
const MAX_PENDING: u64 = 64 << 20;
/// overlayfs's mark on a directory that hides the layers below.
const OPAQUE: &str = "trusted.overlay.opaque";
/// What a directory gets that the archive uses and does not describe.
const IMPLIED_MODE: Mode = Mode::from_raw_mode(0o755);

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is known at the end besides the files.
pub(crate) struct Done {
    pub(crate) opaque_root: bool,
    pub(crate) dropped_xattrs: u64,
    /// Directories that the archive uses and does not describe.
    pub(crate) implied: Vec<Vec<u8>>,
}

/// A directory whose times must be set when nothing more is made in it.
struct Pending {
    path: Vec<u8>,
    inode: u64,
    time: Time,
}

/// How a directory is filled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'m> {
    /// The directory below the root that the archive's names are below.
    pub(crate) at: &'m [u8],
    /// It becomes a layer: whiteouts have their meaning, nothing is mounted in it, and what is implied is told.
    pub(crate) layer: bool,
    /// No directory is replaced by something else, nor something else by a directory.
    pub(crate) keep_kinds: bool,
    /// The first part of names that is another in the tree, and what it is.
    pub(crate) rename: Option<(&'m [u8], &'m [u8])>,
}

impl Manner<'_> {
    pub(crate) const LAYER: Manner<'static> = Manner { at: b"", layer: true, keep_kinds: false, rename: None };
}

pub(crate) struct Tree<'t> {
    root: BorrowedFd<'t>,
    limits: &'t Limits,
    manner: Manner<'t>,
    parents: HashMap<Vec<u8>, Rc<OwnedFd>>,
    pending: Vec<Pending>,
    pending_bytes: u64,
    root_time: Option<Time>,
    /// The inode numbers of directories that are not described so far.
    implied: HashSet<u64>,
    done: Done,
    path: Vec<u8>,
}

impl<'t> Tree<'t> {
    pub(crate) fn new(root: BorrowedFd<'t>, limits: &'t Limits, manner: Manner<'t>) -> Tree<'t> {
        Tree {
            root,
            limits,
            manner,
            parents: HashMap::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            root_time: None,
            implied: HashSet::new(),
            done: Done { opaque_root: false, dropped_xattrs: 0, implied: Vec::new() },
            path: Vec::new(),
        }
    }

    /// Makes what `entry` describes.
    pub(crate) fn add<R: Read>(&mut self, entry: &Entry, archive: &mut Archive<'_, R>) -> Result<(), UnpackError> {
        let mut path = std::mem::take(&mut self.path);
        let result = self
            .locate(&entry.name, &mut path)
            .map_err(|refusal| UnpackError::refused(&entry.name, refusal))
            .and_then(|()| self.place(&path, entry, archive));
        self.path = path;
        result
    }

    /// Where below the root the archive's `name` is.
    fn locate(&self, name: &[u8], into: &mut Vec<u8>) -> Result<(), Refusal> {
        name::normalise(name, into, self.limits)?;
        if let Some((old, new)) = self.manner.rename {
            name::rename(into, old, new);
        }
        let at = self.manner.at;
        if !into.is_empty() && !at.is_empty() {
            into.splice(..0, at.iter().copied().chain([b'/']));
        }
        Ok(())
    }

    /// Sets the times of the directories, and looks where those are that were not described.
    pub(crate) fn finish(mut self) -> Result<Done, UnpackError> {
        let mut implied = Paths::default();
        if self.root_time.is_none() {
            implied.push(Vec::new())?;
        }
        if !self.implied.is_empty() && self.manner.layer {
            implied::find(self.root, &self.implied, &mut implied)?;
        }
        self.done.implied = implied.finish();
        for Pending { path, inode, time } in std::mem::take(&mut self.pending) {
            let failed = |error: Errno| UnpackError::system("set the times of", &path, error);
            let (directory, name) = name::split(&path);
            // A later entry may have replaced it, or what leads to it.
            let Ok(parent) = self.existing(directory) else { continue };
            match self.stat(&parent, name) {
                Ok(Some(stat)) if is(&stat, FileType::Directory) && stat.st_ino == inode => {
                    metadata::set_times_at(&*parent, name, time).map_err(failed)?;
                }
                Ok(_) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        if let Some(time) = self.root_time {
            metadata::set_times_at(self.root, b".", time)
                .map_err(|e| UnpackError::system("set the times of", b".", e))?;
        }
        Ok(self.done)
    }

    fn place<R: Read>(&mut self, path: &[u8], entry: &Entry, archive: &mut Archive<'_, R>) -> Result<(), UnpackError> {
        if path.is_empty() {
            return self.root(entry);
        }
        let meaning = match self.manner.layer {
            true => name::meaning(path, entry.kind).map_err(|refusal| UnpackError::refused(&entry.name, refusal))?,
            false => Meaning::Plain,
        };
        let (directory, name) = name::split(path);
        let parent = self.parent(directory, entry)?;
        if self.manner.keep_kinds {
            self.check_kind(&parent, name, entry)?;
        }
        match meaning {
            Meaning::Whiteout(hidden) => return self.whiteout(&parent, hidden, entry),
            Meaning::Opaque if directory.is_empty() => {
                self.done.opaque_root = true;
                return Ok(());
            }
            Meaning::Opaque => return set_opaque(&parent, b".", entry),
            Meaning::Plain => {}
        }
        match entry.kind {
            Kind::File => self.file(&parent, name, entry, archive),
            Kind::Directory => self.directory(&parent, name, path, entry),
            Kind::Symlink => self.symlink(&parent, name, entry),
            Kind::HardLink => self.hard_link(&parent, name, entry),
            Kind::CharDevice => self.special(&parent, name, entry, FileType::CharacterDevice),
            Kind::BlockDevice => self.special(&parent, name, entry, FileType::BlockDevice),
            Kind::Fifo => self.special(&parent, name, entry, FileType::Fifo),
        }
    }

    fn check_kind(&self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let found = self.stat(parent, name).map_err(|e| UnpackError::system("stat", &entry.name, e))?;
        match found {
            Some(stat) if is(&stat, FileType::Directory) != (entry.kind == Kind::Directory) => {
                Err(UnpackError::refused(&entry.name, Refusal::OtherKind))
            }
            _ => Ok(()),
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::refused(&entry.name, Refusal::Root));
        }
        if !self.manner.layer {
            // The directory that is extracted into stays what it is.
            return Ok(());
        }
        let root = rustix::fs::openat(self.root, ".", DIRECTORY | OFlags::RDONLY, Mode::empty())
            .map_err(|e| UnpackError::system("open", &entry.name, e))?;
        self.done.dropped_xattrs += metadata::apply(root.as_fd(), entry)?;
        self.root_time = Some(entry.mtime);
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        archive: &mut Archive<'_, R>,
    ) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            self.make(parent, name, entry, || rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR))?;
        let failed = |operation| move |error: Errno| UnpackError::system(operation, &entry.name, error);
        match &entry.sparse {
            None => write_region(&file, 0, entry.size, archive, entry)?,
            Some(regions) => {
                rustix::fs::ftruncate(&file, entry.size).map_err(failed("resize"))?;
                for region in regions {
                    write_region(&file, region.offset, region.length, archive, entry)?;
                }
            }
        }
        self.done.dropped_xattrs += metadata::apply(file.as_fd(), entry)?;
        metadata::set_times(file.as_fd(), entry.mtime).map_err(failed("set the times of"))
    }

    fn directory(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let failed = |operation| move |error: Errno| UnpackError::system(operation, &entry.name, error);
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let existing = self.stat(parent, name).map_err(failed("stat"))?;
                if !existing.is_some_and(|stat| is(&stat, FileType::Directory)) {
                    self.clear_way(parent, name, entry)?;
                    rustix::fs::mkdirat(parent, name, Mode::RWXU).map_err(failed("make"))?;
                    if existing.is_some_and(|stat| is_whiteout(&stat)) {
                        set_opaque(parent, name, entry)?;
                    }
                }
            }
            Err(error) => return Err(made("make", entry, error)),
        }
        let open = rustix::fs::openat(parent, name, DIRECTORY | OFlags::RDONLY, Mode::empty());
        let open = open.map_err(failed("open"))?;
        self.done.dropped_xattrs += metadata::apply(open.as_fd(), entry)?;
        let inode = rustix::fs::fstat(&open).map_err(failed("stat"))?.st_ino;
        self.implied.remove(&inode);
        self.pending_bytes += path.len() as u64 + size_of::<Pending>() as u64;
        if self.pending_bytes > MAX_PENDING {
            return Err(UnpackError::Limit { what: "bytes of directories' names", limit: MAX_PENDING });
        }
        self.pending.push(Pending { path: path.to_vec(), inode, time: entry.mtime });
        self.remember(path, open);
        Ok(())
    }

    fn symlink(&mut self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        name::symlink_target(&entry.link, self.limits).map_err(|e| UnpackError::refused(&entry.name, e))?;
        self.make(parent, name, entry, || rustix::fs::symlinkat(&*entry.link, parent, name))?;
        self.done.dropped_xattrs += metadata::apply_to_link(parent, name, entry)?;
        Ok(())
    }

    fn special(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        file_type: FileType,
    ) -> Result<(), UnpackError> {
        if !metadata::is_device(entry.device) {
            return Err(UnpackError::refused(&entry.name, Refusal::Device));
        }
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        self.make(parent, name, entry, || rustix::fs::mknodat(parent, name, file_type, Mode::empty(), device))?;
        self.done.dropped_xattrs += metadata::apply_to_special(parent, name, entry)?;
        Ok(())
    }

    /// Owner, mode and times are those of the file that is linked to, whatever the entry says.
    fn hard_link(&mut self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let refuse = |refusal| UnpackError::refused(&entry.name, refusal);
        let mut target = Vec::new();
        self.locate(&entry.link, &mut target).map_err(refuse)?;
        let (directory, target) = name::split(&target);
        let directory = self.existing(directory).map_err(|_| refuse(Refusal::HardLink))?;
        let old = self.stat(&directory, target).ok().flatten().ok_or_else(|| refuse(Refusal::HardLink))?;
        if is(&old, FileType::Directory) {
            return Err(refuse(Refusal::HardLink));
        }
        if let Ok(Some(new)) = self.stat(parent, name)
            && (new.st_dev, new.st_ino) == (old.st_dev, old.st_ino)
        {
            return Ok(());
        }
        let link = || rustix::fs::linkat(&*directory, target, parent, name, AtFlags::empty());
        match link() {
            Err(Errno::EXIST) => {
                self.clear_way(parent, name, entry)?;
                link().map_err(|error| match error {
                    // The target was below what had to make way.
                    Errno::NOENT => refuse(Refusal::HardLink),
                    error => made("link", entry, error),
                })
            }
            result => result.map_err(|error| made("link", entry, error)),
        }
    }

    /// A whiteout hides what layers below have, not what this one has.
    fn whiteout(&mut self, parent: &OwnedFd, hidden: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        match self.stat(parent, hidden).map_err(|e| UnpackError::system("stat", &entry.name, e))? {
            Some(stat) if is(&stat, FileType::Directory) => set_opaque(parent, hidden, entry),
            Some(_) => Ok(()),
            None => rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(|error| made("make a whiteout for", entry, error)),
        }
    }

    /// Runs `make`, which refuses an existing name, once more after removing what has that name.
    fn make<T>(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        match make() {
            Err(Errno::EXIST) => {
                self.clear_way(parent, name, entry)?;
                make().map_err(|error| made("make", entry, error))
            }
            result => result.map_err(|error| made("make", entry, error)),
        }
    }

    fn clear_way(&mut self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        // What was resolved through it, or is below it, must be resolved anew.
        self.parents.clear();
        crate::remove_tree(parent, name).map_err(|e| UnpackError::system("replace", &entry.name, e))
    }

    /// `name` itself, if there is one.
    fn stat(&self, parent: &OwnedFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remember(&mut self, path: &[u8], fd: OwnedFd) -> Rc<OwnedFd> {
        if self.parents.len() >= CACHED_PARENTS {
            self.parents.clear();
        }
        let fd = Rc::new(fd);
        self.parents.insert(path.to_vec(), Rc::clone(&fd));
        fd
    }

    /// The directory `path`, if it is there.
    fn existing(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if let Some(fd) = self.parents.get(path) {
            return Ok(Rc::clone(fd));
        }
        let fd = self.open_in_root(path)?;
        Ok(self.remember(path, fd))
    }

    fn open_in_root(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if self.manner.layer {
            resolve |= ResolveFlags::NO_XDEV;
        }
        loop {
            match rustix::fs::openat2(self.root, path, flags, Mode::empty(), resolve) {
                // Something was renamed elsewhere meanwhile, and the kernel could not be sure.
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
    }

    /// The directory `path`, made where the archive does not describe it.
    fn parent(&mut self, path: &[u8], entry: &Entry) -> Result<Rc<OwnedFd>, UnpackError> {
        match self.existing(path) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let fd = self.make_parents(path, entry)?;
                Ok(self.remember(path, fd))
            }
            Err(error) => Err(parent_error(entry, error)),
        }
    }

    fn make_parents(&mut self, path: &[u8], entry: &Entry) -> Result<OwnedFd, UnpackError> {
        let mut current = self.open_in_root(b"").map_err(|error| parent_error(entry, error))?;
        let mut end = 0;
        for component in path.split(|&byte| byte == b'/') {
            end += component.len();
            current = match rustix::fs::openat(&current, component, DIRECTORY | OFlags::PATH, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    let (made, inode) = make_implied(&current, component, entry)?;
                    self.implied.insert(inode);
                    made
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let stat = self.stat(&current, component).map_err(|error| parent_error(entry, error))?;
                    match stat {
                        Some(stat) if is_whiteout(&stat) => {
                            self.clear_way(&current, component, entry)?;
                            let (made, inode) = make_implied(&current, component, entry)?;
                            // What was below is gone, and has nothing to say.
                            self.implied.remove(&inode);
                            set_opaque(&made, b".", entry)?;
                            made
                        }
                        _ => self.open_in_root(&path[..end]).map_err(|error| parent_error(entry, error))?,
                    }
                }
                Err(error) => return Err(parent_error(entry, error)),
            };
            end += 1;
        }
        Ok(current)
    }
}

/// The new directory, and its inode number.
fn make_implied(parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(OwnedFd, u64), UnpackError> {
    let failed = |error| parent_error(entry, error);
    rustix::fs::mkdirat(parent, name, Mode::RWXU).map_err(failed)?;
    let fd = rustix::fs::openat(parent, name, DIRECTORY | OFlags::RDONLY, Mode::empty()).map_err(failed)?;
    // Not by mkdirat: the process's umask has no say in what an image is.
    rustix::fs::fchmod(&fd, IMPLIED_MODE).map_err(failed)?;
    let inode = rustix::fs::fstat(&fd).map_err(failed)?.st_ino;
    Ok((fd, inode))
}

/// Hides what the layers below have in the directory `name`.
fn set_opaque(parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
    rustix::fs::openat(parent, name, DIRECTORY | OFlags::RDONLY, Mode::empty())
        .and_then(|fd| rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty()))
        .map_err(|error| UnpackError::system("mark as opaque", &entry.name, error))
}

/// Writes the next `length` bytes of the entry's data at `offset`.
fn write_region<R: Read>(
    file: &OwnedFd,
    mut offset: u64,
    length: u64,
    archive: &mut Archive<'_, R>,
    entry: &Entry,
) -> Result<(), UnpackError> {
    let end = offset + length;
    while offset < end {
        let mut bytes = archive.more_data(end - offset)?;
        while !bytes.is_empty() {
            match rustix::io::pwrite(file, bytes, offset) {
                Ok(written) => {
                    offset += written as u64;
                    bytes = &bytes[written..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(UnpackError::system("write", &entry.name, error)),
            }
        }
    }
    Ok(())
}

fn made(operation: &'static str, entry: &Entry, error: Errno) -> UnpackError {
    match error {
        Errno::NAMETOOLONG => UnpackError::refused(&entry.name, Refusal::TooLong),
        error => UnpackError::system(operation, &entry.name, error),
    }
}

/// Resolving a directory failed: because of what the archive planted there, or because of the host.
fn parent_error(entry: &Entry, error: Errno) -> UnpackError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::EXIST | Errno::XDEV => {
            UnpackError::refused(&entry.name, Refusal::Parent)
        }
        Errno::NAMETOOLONG => UnpackError::refused(&entry.name, Refusal::TooLong),
        error => UnpackError::system("resolve the directory of", &entry.name, error),
    }
}

fn is(stat: &Stat, file_type: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == file_type
}

fn is_whiteout(stat: &Stat) -> bool {
    is(stat, FileType::CharacterDevice) && stat.st_rdev == 0
}
