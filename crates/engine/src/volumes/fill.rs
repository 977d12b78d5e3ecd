// SPDX-License-Identifier: Apache-2.0
//! An empty volume begins with what the image has where it is mounted: files with owners, modes and attributes, and those
//! of the directory itself.
//!
//! A volume that nobody uses is filled beside its files and gets them in one step, so that nothing is ever half there. What
//! options mount, and what a container uses already, can only be filled where it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, renameat};
use rustix::io::Errno;

use super::{DATA, DIRECTORY, NEW, Volumes, is_mounted, lock, options};
use crate::error::EngineError;

/// A volume's files in the making, beside those that it has.
const FILL: &str = ".fill";

impl Volumes {
    /// Copies the directory `from` into a volume, if it is empty.
    pub(crate) fn fill(&self, name: &str, from: BorrowedFd<'_>) -> Result<(), EngineError> {
        let turn = self.turn(name)?;
        let turn = lock(&turn);
        let (durable, wish) = {
            let entries = self.entries();
            let entry = entries.get(name).ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))?;
            (entry.durable, entry.volume.options.clone())
        };
        let directory = if durable { name.to_owned() } else { format!("{NEW}{name}") };
        let failed = |errno: Errno| EngineError::io("fill the volume", self.root.join(&directory))(errno.into());
        let own = openat(&self.dir, &directory, DIRECTORY, Mode::empty()).map_err(failed)?;
        let plan = options::plan(&wish)?;
        let place = self.root.join(&directory).join(DATA);
        let mount = plan.filter(|_| turn.runs == 0);
        if let Some(plan) = &mount
            && !is_mounted(&place)?
        {
            plan.mount(&place)?;
        }
        let filled = self.fill_directory(&own, from, durable && turn.runs == 0 && mount.is_none());
        if mount.is_some() {
            self.unmount_place(&place)?;
        }
        filled.map_err(|error| error.map_errno(failed))
    }

    fn fill_directory(&self, own: &OwnedFd, from: BorrowedFd<'_>, beside: bool) -> Result<(), FillError> {
        let data = openat(own, DATA, DIRECTORY, Mode::empty())?;
        if !is_empty(&data)? {
            return Ok(());
        }
        if !beside {
            return Ok(runtime::copy_directory(from, data.as_fd())?);
        }
        layer::remove_tree(own, FILL).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        mkdirat(own, FILL, Mode::RWXU)?;
        let copied = openat(own, FILL, DIRECTORY, Mode::empty())
            .map_err(FillError::from)
            .and_then(|fill| Ok(runtime::copy_directory(from, fill.as_fd())?))
            .and_then(|()| match renameat(own, FILL, own, DATA) {
                // Somebody has put something there on the host: that counts.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
                Err(errno) => Err(errno.into()),
            });
        if let Err(error) = layer::remove_tree(own, FILL) {
            tracing::error!(%error, "a half-filled volume's files stay until it is filled again");
        }
        copied
    }
}

/// Why a volume was not filled.
enum FillError {
    Call(Errno),
    Copy(runtime::CopyError),
}

impl FillError {
    fn map_errno(self, map: impl FnOnce(Errno) -> EngineError) -> EngineError {
        match self {
            FillError::Call(errno) => map(errno),
            FillError::Copy(error) => error.into(),
        }
    }
}

impl From<Errno> for FillError {
    fn from(errno: Errno) -> FillError {
        FillError::Call(errno)
    }
}

impl From<runtime::CopyError> for FillError {
    fn from(error: runtime::CopyError) -> FillError {
        FillError::Copy(error)
    }
}

fn is_empty(directory: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the image has at `target`, a directory; nothing when it has nothing there.
pub(super) fn image_directory(root: BorrowedFd<'_>, target: &str) -> Result<Option<OwnedFd>, EngineError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(root, target, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR) => Err(EngineError::invalid(
            "volume",
            format!("the image has a file at {target}: no volume can be mounted on it"),
        )),
        Err(errno) => Err(EngineError::io("open the image's", target)(errno.into())),
    }
}
