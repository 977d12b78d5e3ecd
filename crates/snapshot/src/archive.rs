// SPDX-License-Identifier: Apache-2.0
//! A layer's archive being written, as one file from its beginning to its end.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::SnapshotError;
use crate::error::At as _;
use crate::store::{ARCHIVE, Store};

/// `RWF_DONTCACHE` (Linux 6.14): the data goes to the disk now, and then out of memory. Nothing is left to be synced in
/// the end, and nothing that is in use is pushed out for it.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// The open file.
pub(crate) struct Archive {
    file: OwnedFd,
    length: u64,
    flags: ReadWriteFlags,
}

impl Archive {
    /// Makes the file in the layer's directory, which has that name in the store. Nobody can open it for writing again.
    pub(crate) fn create(store: &Store, directory: &OwnedFd, name: &str) -> Result<Archive, SnapshotError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, ARCHIVE, flags, Mode::RUSR);
        let file = file.at("make", || store.path.join(name).join(ARCHIVE))?;
        Ok(Archive { file, length: 0, flags: DONTCACHE })
    }

    /// Appends `bytes`.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::pwritev2(&self.file, &[std::io::IoSlice::new(bytes)], self.length, self.flags) {
                Ok(written) => {
                    self.length += written as u64;
                    bytes = &bytes[written..];
                }
                Err(Errno::INTR) => {}
                // The kernel, or this file system, has no such flag, or not even the call.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.flags == DONTCACHE => self.flags = ReadWriteFlags::empty(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until all of it is on the disk.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        rustix::fs::fdatasync(&self.file).map_err(Into::into)
    }

    /// The same bytes, to be read from the beginning.
    pub(crate) fn into_reader(self) -> File {
        // Nothing has moved the file's position: it was written at given places.
        self.file.into()
    }
}
