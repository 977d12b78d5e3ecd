// SPDX-License-Identifier: Apache-2.0
//! Hiding paths and making them read-only. What does not exist needs neither.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, OFlags, PROC_SUPER_MAGIC, fstatfs, major, minor, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use sys::mount::{ATTR_RDONLY, Attributes};

use super::StepError;
use super::files::{Files, attach};
use super::mounts::{new_mount, stat};

const CLONE: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC).union(OpenTreeFlags::AT_EMPTY_PATH);

impl Files {
    pub(super) fn mask(&mut self, path: &Path) -> Result<(), StepError> {
        let Some(target) = self.find(path)? else { return Ok(()) };
        let is_directory = FileType::from_raw_mode(stat(&target)?.st_mode) == FileType::Directory;
        if !is_directory {
            return Ok(attach(clone(self.null()?, CLONE)?, &target)?);
        }
        if let Some(empty) = &self.empty {
            return Ok(attach(clone(empty, CLONE)?, &target)?);
        }
        // A clone can only be made of what is attached: the first masked directory shows the original.
        let empty = new_mount("tmpfs", Some("tmpfs"), &[("nr_inodes", Some("1"))], ATTR_RDONLY)?;
        attach(&empty, &target)?;
        self.empty = Some(empty);
        Ok(())
    }

    pub(super) fn make_read_only(&mut self, path: &Path) -> Result<(), StepError> {
        let Some(target) = self.find(path)? else { return Ok(()) };
        let tree = clone(&target, CLONE | OpenTreeFlags::AT_RECURSIVE)?;
        sys::mount::setattr(tree.as_fd(), true, &Attributes { set: ATTR_RDONLY, ..Attributes::default() })?;
        Ok(attach(&tree, &target)?)
    }

    /// What is at `path` in the root. Something below `/proc` must be the kernel's: a mask over anything else would
    /// protect nothing.
    fn find(&self, path: &Path) -> Result<Option<OwnedFd>, StepError> {
        let found = match self.root()?.open(path, OFlags::PATH) {
            Ok(found) => found,
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if self.proc_mounted && path.starts_with("/proc") {
            let statfs = fstatfs(&found).map_err(|errno| sys::Error::new(format!("fstatfs({path:?})"), errno))?;
            if statfs.f_type != PROC_SUPER_MAGIC {
                return Err(StepError::NotExpected { path: path.to_owned(), expected: "on procfs" });
            }
        }
        Ok(Some(found))
    }

    /// The host's null device, opened once and checked: what masks a file must give nothing.
    fn null(&mut self) -> Result<&OwnedFd, StepError> {
        const NULL: &str = "/dev/null";
        if self.null.is_none() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let null = openat(CWD, NULL, flags, rustix::fs::Mode::empty())
                .map_err(|errno| sys::Error::new("openat(AT_FDCWD, \"/dev/null\", O_PATH|O_NOFOLLOW)", errno))?;
            let metadata = stat(&null)?;
            let device = (major(metadata.st_rdev), minor(metadata.st_rdev));
            if FileType::from_raw_mode(metadata.st_mode) != FileType::CharacterDevice || device != (1, 3) {
                return Err(StepError::NotExpected { path: NULL.into(), expected: "the null device of the host" });
            }
            self.null = Some(null);
        }
        self.null.as_ref().ok_or(StepError::NotProvided { what: "the null device" })
    }
}

fn clone(of: &OwnedFd, flags: OpenTreeFlags) -> sys::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    open_tree(of, "", flags).map_err(|errno| {
        sys::Error::new(format!("open_tree({}, \"\", OPEN_TREE_CLONE|AT_EMPTY_PATH)", of.as_raw_fd()), errno)
    })
}
