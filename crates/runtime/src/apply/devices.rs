// SPDX-License-Identifier: Apache-2.0
//! Device files and the links beside them.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chownat, major, makedev, minor, mknodat, statat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::StepError;
use super::files::{Files, attach};
use super::mounts::stat;
use crate::plan::{Device, DeviceKind};
use crate::resolve::Leaf;

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr), StepError> {
    path.parent().zip(path.file_name()).ok_or(StepError::NotExpected { path: path.into(), expected: "a file's path" })
}

impl Files {
    pub(super) fn make_device(&mut self, device: &Device) -> Result<(), StepError> {
        if device.bind {
            return self.bind_device(device);
        }
        let (parent, name) = split(&device.path)?;
        let parent = self.directory(parent)?;
        let kind = match device.kind {
            DeviceKind::Character => FileType::CharacterDevice,
            DeviceKind::Block => FileType::BlockDevice,
            DeviceKind::Fifo => FileType::Fifo,
        };
        let number = makedev(device.major, device.minor);
        match mknodat(parent, name, kind, Mode::from_raw_mode(device.mode), number) {
            Ok(()) => {}
            Err(Errno::EXIST) => return existing(device, kind, parent),
            Err(errno) => {
                let call =
                    format!("mknodat({name:?}, {:#o}, makedev({}, {}))", device.mode, device.major, device.minor);
                return Err(sys::Error::new(call, errno).into());
            }
        }
        if (device.uid, device.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
            chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| {
                sys::Error::new(format!("fchownat({name:?}, {}, {})", device.uid, device.gid), errno)
            })?;
        }
        Ok(())
    }

    /// Binds the device file that the host has at the same path, if it is the same device.
    fn bind_device(&mut self, device: &Device) -> Result<(), StepError> {
        let path = &device.path;
        let tree = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
            .map_err(|errno| sys::Error::new(format!("open_tree(AT_FDCWD, {path:?}, OPEN_TREE_CLONE)"), errno))?;
        let found = stat(&tree)?;
        let kind = if device.kind == DeviceKind::Block { FileType::BlockDevice } else { FileType::CharacterDevice };
        let number = (major(found.st_rdev), minor(found.st_rdev));
        if FileType::from_raw_mode(found.st_mode) != kind || number != (device.major, device.minor) {
            let expected = "on the host the device that the container is to have there";
            return Err(StepError::NotExpected { path: path.clone(), expected });
        }
        let target = self.root()?.ensure(path, Leaf::File)?;
        attach(&tree, &target)?;
        Ok(())
    }

    pub(super) fn make_symlink(&mut self, target: &str, path: &Path) -> Result<(), StepError> {
        let (parent, name) = split(path)?;
        match symlinkat(target, self.directory(parent)?, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(sys::Error::new(format!("symlinkat({target:?}, {name:?})"), errno).into()),
        }
    }
}

/// A device of the image is as good as ours if it is the same one.
fn existing(device: &Device, kind: FileType, parent: &std::os::fd::OwnedFd) -> Result<(), StepError> {
    let (_, name) = split(&device.path)?;
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| sys::Error::new(format!("fstatat({name:?}, AT_SYMLINK_NOFOLLOW)"), errno))?;
    let number = (major(found.st_rdev), minor(found.st_rdev));
    let same = FileType::from_raw_mode(found.st_mode) == kind
        && (kind == FileType::Fifo || number == (device.major, device.minor));
    let expected = "the device that the container is to have there";
    if same { Ok(()) } else { Err(StepError::NotExpected { path: device.path.clone(), expected }) }
}
