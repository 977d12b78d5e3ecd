// SPDX-License-Identifier: Apache-2.0
//! Files and directories that get their names when they are whole. Until then they have another one beside it; what is
//! given up is removed. What a killed process could not remove, the next one with the same destination does
//! (`leftovers.rs`).

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::blob::Verified;
use crate::error::{At as _, TransferError, system};
use crate::leftovers;
use crate::tree::{DIRECTORY, Tree};

/// What the umask leaves of these is what a file and a directory get.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);
/// Names that are tried for something new. More than one or two are never taken.
const ATTEMPTS: u32 = 64;
/// Nothing below a directory that is written to is reached through a link.
const NO_LINKS: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Where a file or directory is until it is whole.
struct Beside {
    directory: PathBuf,
    /// How the names there begin.
    prefix: OsString,
}

impl Beside {
    /// Beside `path`.
    fn of(path: &Path) -> Result<Beside, TransferError> {
        // `dir/` and `dir/.` have the name `dir`; `/` and `..` have none.
        let name = path.file_name().ok_or_else(|| system("write", path, std::io::ErrorKind::IsADirectory))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        Ok(Beside { directory: path.with_file_name(""), prefix })
    }

    /// Inside the directory `path`.
    fn inside(path: &Path) -> Beside {
        Beside { directory: path.to_owned(), prefix: OsString::new() }
    }

    /// Removes what killed processes left here, and makes something new by `make`, which says that the name exists by
    /// `EEXIST`. It is locked as long as its descriptor is open.
    fn make(&self, make: impl Fn(&Path) -> rustix::io::Result<OwnedFd>) -> Result<(OwnedFd, PathBuf), TransferError> {
        leftovers::remove(&self.directory, &self.prefix);
        for number in 0..ATTEMPTS {
            let path = self.directory.join(leftovers::name(&self.prefix, number));
            match make(&path) {
                Ok(made) if leftovers::claim(&made, &path) => return Ok((made, path)),
                // Another took it for a leftover before it was locked; or a process in another pid namespace has our id.
                Ok(_) | Err(Errno::EXIST) => {}
                Err(error) => return Err(system("make", path, error)),
            }
        }
        Err(system("make a file in", &self.directory, std::io::ErrorKind::AlreadyExists))
    }
}

/// A file in the making.
#[derive(Debug)]
pub(crate) struct StagedFile {
    path: PathBuf,
    /// Empty once there is nothing to be removed.
    temporary: PathBuf,
}

impl StagedFile {
    /// Begins the file `path`, in the place of one that may be there. Only plain files are replaced.
    pub(crate) fn create(path: &Path) -> Result<(StagedFile, File), TransferError> {
        if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
            return Err(system("replace", path, std::io::Error::other("it is there already, and no plain file")));
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let (file, temporary) = Beside::of(path)?.make(|name| rustix::fs::open(name, flags, FILE_MODE))?;
        Ok((StagedFile { path: path.to_owned(), temporary }, file.into()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `file` durable, and gives it its name.
    pub(crate) fn finish(mut self, file: &File) -> Result<(), TransferError> {
        file.sync_all().at("sync", &self.path)?;
        std::fs::rename(&self.temporary, &self.path).at("write", &self.path)?;
        self.temporary.clear();
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            // The error that led here is told; half an archive is of no use to anybody.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// A directory that is being filled. What is new lies in a directory of its own: the whole one where there was none
/// before, else one inside, whose files go to their places in the end, in the order in which they were made.
#[derive(Debug)]
pub(crate) struct StagedDirectory {
    path: PathBuf,
    /// The directory, where it was there before.
    before: Option<Tree>,
    staging: OwnedFd,
    /// Empty once there is nothing to be removed.
    temporary: PathBuf,
    made: Mutex<Vec<String>>,
}

impl StagedDirectory {
    /// Begins the directory `path`, which may be there: then `accept` says whether that is one to add to.
    pub(crate) fn create(
        path: &Path,
        accept: impl FnOnce(&Tree) -> Result<(), TransferError>,
    ) -> Result<StagedDirectory, TransferError> {
        let (before, beside) = match Tree::open(path) {
            Ok(tree) if !tree.is_empty()? => {
                accept(&tree)?;
                (Some(tree), Beside::inside(path))
            }
            // An empty one is replaced.
            Ok(_) => (None, Beside::of(path)?),
            Err(TransferError::System { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                (None, Beside::of(path)?)
            }
            Err(error) => return Err(error),
        };
        if before.is_some()
            && let Ok(beside) = Beside::of(path)
        {
            // Of a copy that was killed when the directory was not there yet.
            leftovers::remove(&beside.directory, &beside.prefix);
        }
        let (staging, temporary) = beside.make(|name| {
            rustix::fs::mkdir(name, DIRECTORY_MODE)?;
            match rustix::fs::open(name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                // Another copy took it for a leftover.
                Err(Errno::NOENT) => Err(Errno::EXIST),
                opened => opened,
            }
        })?;
        Ok(StagedDirectory { path: path.to_owned(), before, staging, temporary, made: Mutex::default() })
    }

    /// What was there before.
    pub(crate) fn before(&self) -> Option<&Tree> {
        self.before.as_ref()
    }

    /// The new file `name`, whose directories are made.
    fn file(&self, name: &str) -> Result<File, TransferError> {
        make_directories(&self.staging, name).at("make", self.temporary.join(name))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.staging, name, flags, FILE_MODE).at("make", self.temporary.join(name))?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        Ok(File::from(file))
    }

    /// Writes `bytes` as the file `name`.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TransferError> {
        let mut file = self.file(name)?;
        let path = || self.path.join(name);
        file.write_all(bytes).at("write", path())?;
        file.sync_all().at("sync", path())
    }

    /// Writes a blob as the file `name`.
    pub(crate) fn blob(&self, name: &str, blob: &Verified) -> Result<(), TransferError> {
        let mut file = self.file(name)?;
        let path = || self.path.join(name);
        blob.for_each(|piece| file.write_all(piece).at("write", path()))?;
        file.sync_all().at("sync", path())
    }

    /// Gives everything its name. `remove` are files of before that no longer belong there.
    pub(crate) fn finish(mut self, remove: &[String]) -> Result<(), TransferError> {
        let Some(before) = &self.before else {
            rustix::fs::fsync(&self.staging).at("sync", &self.path)?;
            std::fs::rename(&self.temporary, &self.path).at("write", &self.path)?;
            self.temporary.clear();
            return Ok(());
        };
        for name in self.made.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            make_directories(before.root(), name).at("make", self.path.join(name))?;
            let (directory, file) = name.rsplit_once('/').unwrap_or((".", name));
            let at = rustix::fs::openat2(before.root(), directory, DIRECTORY, Mode::empty(), NO_LINKS);
            at.and_then(|at| {
                rustix::fs::renameat(&self.staging, name.as_str(), &at, file)?;
                rustix::fs::fsync(&at)
            })
            .at("write", self.path.join(name))?;
        }
        for name in remove {
            rustix::fs::unlinkat(before.root(), name.as_str(), AtFlags::empty()).at("remove", self.path.join(name))?;
        }
        Ok(())
    }
}

/// The directories above the file `name`.
fn make_directories(root: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    for (at, _) in name.match_indices('/') {
        match rustix::fs::mkdirat(root, &name[..at], DIRECTORY_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        rustix::fs::openat2(root, &name[..at], DIRECTORY, Mode::empty(), NO_LINKS)?;
    }
    Ok(())
}

impl Drop for StagedDirectory {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            // As for a file.
            let _ = std::fs::remove_dir_all(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_leaves_nothing_and_what_was_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "before").unwrap();
        drop(StagedFile::create(&path).unwrap());
        let staged = StagedDirectory::create(&directory.path().join("new"), |_| Ok(())).unwrap();
        staged.write("b/c", b"x").unwrap();
        drop(staged);
        let staged = StagedDirectory::create(directory.path(), |_| Ok(())).unwrap();
        staged.write("b/c", b"x").unwrap();
        drop(staged);
        let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    }

    #[test]
    fn what_is_finished_has_its_name_beside_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        for round in ["one", "two"] {
            let staged = StagedDirectory::create(&path, |_| Ok(())).unwrap();
            assert_eq!(staged.before().is_some(), round == "two");
            staged.write(&format!("b/{round}"), round.as_bytes()).unwrap();
            staged.write("same", round.as_bytes()).unwrap();
            staged.finish(&[]).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
        assert_eq!([read("b/one"), read("b/two"), read("same")], ["one", "two", "two"]);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
    }

    #[test]
    fn a_link_inside_does_not_lead_out() {
        let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), directory.path().join("blobs")).unwrap();
        let staged = StagedDirectory::create(directory.path(), |_| Ok(())).unwrap();
        staged.write("blobs/x", b"x").unwrap();
        assert!(staged.finish(&[]).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_a_plain_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        assert!(StagedFile::create(directory.path()).is_err());
        assert!(StagedFile::create(Path::new("/dev/null")).is_err());
    }
}
