// SPDX-License-Identifier: Apache-2.0
//! A directory that is read: every file is opened below its descriptor, and a link that leads out of it is not followed.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::blob::Stretch;
use crate::error::{At as _, TransferError, system};

pub(crate) const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    path: PathBuf,
}

impl Tree {
    pub(crate) fn open(path: &Path) -> Result<Tree, TransferError> {
        let root = rustix::fs::open(path, DIRECTORY, Mode::empty()).at("open", path)?;
        Ok(Tree { root, path: path.to_owned() })
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens the file `name`; `None` where there is none, or something else than a plain file.
    pub(crate) fn file(&self, name: &str) -> Result<Option<File>, TransferError> {
        // A pipe must not be waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = loop {
            match rustix::fs::openat2(&self.root, name, flags, Mode::empty(), resolve) {
                Ok(file) => break File::from(file),
                // A link that leads out, or in a circle, is as good as nothing.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::NXIO) => return Ok(None),
                // Something was renamed at that moment: openat2(2).
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(system("open", self.path.join(name), error)),
            }
        };
        let stat = rustix::fs::fstat(&file).at("stat", self.path.join(name))?;
        Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(file))
    }

    /// The text of the document `name`, of at most `limit` bytes.
    pub(crate) fn document(
        &self,
        place: &str,
        name: &str,
        document: &'static str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, TransferError> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let mut text = Vec::new();
        file.take(limit + 1).read_to_end(&mut text).at("read", self.path.join(name))?;
        if text.len() as u64 > limit {
            return Err(TransferError::TooLarge { place: place.to_owned(), document, limit });
        }
        Ok(Some(text))
    }

    /// The whole file `name`, to be read piece by piece.
    pub(crate) fn stretch(&self, name: &str) -> Result<Option<Stretch>, TransferError> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let path = self.path.join(name);
        let size = file.metadata().at("stat", &path)?.len();
        Ok(Some(Stretch { file: Arc::new(file), path, offset: 0, size }))
    }

    /// Bytes of the file `name`; `None` where there is none.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>, TransferError> {
        Ok(self.stretch(name)?.map(|stretch| stretch.size))
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> Result<bool, TransferError> {
        for entry in rustix::fs::Dir::read_from(&self.root).at("list", &self.path)? {
            let entry = entry.at("list", &self.path)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
