// SPDX-License-Identifier: Apache-2.0
//! Directories of small files, by descriptor: nothing below one is reached through a symbolic link or `..`, what is
//! written is whole and durable before it has its name, and what is removed stays removed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_NOW, fsync, futimens, mkdirat,
    openat2, renameat, unlinkat,
};
use rustix::io::Errno;

use super::error::StorageError;

/// Distinguishes the temporary files of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether what happens in it must survive a power cut. Those below are as the one above.
    durable: bool,
}

impl Directory {
    /// Opens the directory at `path`, which may be reached through symbolic links, and makes it (mode 0700) where it is
    /// missing; what is above it must exist.
    pub(crate) fn open_or_make(path: &Path) -> Result<Directory, StorageError> {
        match mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(StorageError::system("make", path.to_owned(), error)),
        }
        let fd = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())
            .map_err(|error| StorageError::system("open", path.to_owned(), error))?;
        Ok(Directory { fd, path: path.to_owned(), durable: true })
    }

    /// The same, for what may be lost with the power.
    pub(crate) fn transient(self) -> Directory {
        Directory { durable: false, ..self }
    }

    /// The directory below this one, if there is one. `name` may have several components.
    pub(crate) fn below(&self, name: &str) -> Result<Option<Directory>, StorageError> {
        Ok(self.open(name, DIRECTORY)?.map(|fd| Directory { fd, path: self.path.join(name), durable: self.durable }))
    }

    /// The directory `name` in this one, made durably (mode 0700) where it is missing.
    pub(crate) fn make(&self, name: &str) -> Result<Directory, StorageError> {
        if let Some(found) = self.below(name)? {
            return Ok(found);
        }
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(self.failed("make", name, error)),
        }
        self.below(name)?.ok_or_else(|| self.failed("open", name, Errno::NOENT))
    }

    /// The content of a file of at most `max` bytes, if there is one.
    pub(crate) fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(fd) = self.open(name, OFlags::RDONLY | OFlags::CLOEXEC)? else { return Ok(None) };
        let mut bytes = Vec::new();
        File::from(fd).take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| StorageError::System {
            operation: "read",
            path: self.path.join(name),
            source: error,
        })?;
        if bytes.len() as u64 > max {
            return Err(self.damaged(name));
        }
        Ok(Some(bytes))
    }

    /// Whether there is such a file, and when it was written or touched.
    pub(crate) fn modified(&self, name: &str) -> Result<Option<SystemTime>, StorageError> {
        let Some(fd) = self.open(name, OFlags::PATH | OFlags::CLOEXEC)? else { return Ok(None) };
        let stat = rustix::fs::fstat(&fd).map_err(|error| self.failed("stat", name, error))?;
        Ok(Some(time_of(&stat)))
    }

    /// Makes `name` a file with this content, replacing the one of that name: durably, and whole at every moment.
    /// `scratch` is another directory on the file system, for the file before it has its name.
    pub(crate) fn replace(&self, scratch: &Directory, name: &str, content: &[u8]) -> Result<(), StorageError> {
        let temporary = format!("{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&scratch.fd, &temporary, flags, FILE_MODE)
            .map_err(|error| scratch.failed("make", &temporary, error))?;
        let mut file = File::from(file);
        let written = (|| {
            file.write_all(content)?;
            if self.durable {
                file.sync_all()?;
            }
            Ok(renameat(&scratch.fd, &temporary, &self.fd, name)?)
        })();
        if let Err(source) = written {
            // Absent once it was renamed; otherwise the next start removes it.
            let _: rustix::io::Result<()> = unlinkat(&scratch.fd, &temporary, AtFlags::empty());
            return Err(StorageError::System { operation: "write", path: self.path.join(name), source });
        }
        self.sync()
    }

    /// Makes `name` an empty file, durably; one that is there already becomes as new.
    pub(crate) fn mark(&self, name: &str) -> Result<(), StorageError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file =
            rustix::fs::openat(&self.fd, name, flags, FILE_MODE).map_err(|error| self.failed("make", name, error))?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        futimens(&file, &Timestamps { last_access: now, last_modification: now })
            .map_err(|error| self.failed("touch", name, error))?;
        self.sync()
    }

    /// Removes a file, durably. Says whether it was there.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, StorageError> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed("remove", name, error)),
        }
    }

    /// Removes the directory `name` in this one with the files in it, if it is there.
    pub(crate) fn remove_directory(&self, name: &str) -> Result<(), StorageError> {
        let Some(directory) = self.below(name)? else { return Ok(()) };
        for file in directory.names()? {
            directory.remove(&file)?;
        }
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => self.sync(),
            Err(error) => Err(self.failed("remove", name, error)),
        }
    }

    /// The names of everything in it, in no order. What is no text is nobody's.
    pub(crate) fn names(&self) -> Result<Vec<String>, StorageError> {
        let failed = |error| StorageError::system("list", self.path.clone(), error);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Some(name) = OsStr::from_bytes(entry.file_name().to_bytes()).to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// A second descriptor of it.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd, StorageError> {
        self.fd.try_clone().map_err(|source| StorageError::System {
            operation: "duplicate",
            path: self.path.clone(),
            source,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The error for a file in it whose content is not what was written.
    pub(crate) fn damaged(&self, name: &str) -> StorageError {
        StorageError::Damaged { path: self.path.join(name) }
    }

    fn open(&self, name: &str, flags: OFlags) -> Result<Option<OwnedFd>, StorageError> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(self.fd.as_fd(), name, flags, Mode::empty(), resolve) {
                Ok(fd) => return Ok(Some(fd)),
                Err(Errno::NOENT) => return Ok(None),
                // Something was renamed meanwhile (openat2(2)).
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(self.failed("open", name, error)),
            }
        }
    }

    fn sync(&self) -> Result<(), StorageError> {
        if !self.durable {
            return Ok(());
        }
        fsync(&self.fd).map_err(|error| StorageError::system("sync", self.path.clone(), error))
    }

    fn failed(&self, operation: &'static str, name: &str, error: Errno) -> StorageError {
        StorageError::system(operation, self.path.join(name), error)
    }
}

fn time_of(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(stat.st_mtime_nsec)
}
