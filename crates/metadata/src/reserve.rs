// SPDX-License-Identifier: Apache-2.0
//! Room on the disk that the store's file has before it needs it. A write that finds the disk full makes redb refuse
//! everything until the file is opened anew; and who makes room on a full disk must write here what is gone.
//!
//! So the blocks of the whole file are the file's own, and those that it will grow into: redb doubles it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// No more than this is kept beyond the file's end, in bytes.
const MOST: u64 = 64 << 20;

/// The file, and up to where its blocks are known to be there.
pub(crate) struct Reserve {
    file: File,
    end: AtomicU64,
}

impl Reserve {
    /// Keeps room for the store's file `path` from now on.
    pub(crate) fn open(path: &Path) -> io::Result<Reserve> {
        let file = File::options().write(true).open(path)?;
        let reserve = Reserve { file, end: AtomicU64::new(0) };
        reserve.renew();
        Ok(reserve)
    }

    /// Sees to it that there is room for as much again as the file has. Costs a look at its length where there is.
    pub(crate) fn renew(&self) {
        // Asked of an open file, this does not fail; if it did, the next commit would ask again.
        let Ok(length) = self.file.metadata().map(|metadata| metadata.len()) else { return };
        let end = length.saturating_add(length.min(MOST));
        if self.end.load(Ordering::Relaxed) >= end {
            return;
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, end) {
            Ok(()) => self.end.store(end, Ordering::Relaxed),
            // This file system has no such thing: nothing can be done.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.end.store(u64::MAX, Ordering::Relaxed),
            // The disk is full already, say: the next commit tries again.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use crate::{Durability, MetadataError, Store, Table};

    #[test]
    fn the_file_has_the_blocks_that_it_grows_into() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let store = Store::open(&path).unwrap();
        let check = || {
            let file = path.metadata().unwrap();
            assert!(file.blocks() * 512 >= 2 * file.len(), "{} blocks for {} bytes", file.blocks(), file.len());
            file.len()
        };
        let before = check();
        let value = "x".repeat(100_000);
        for number in 0..50 {
            let put = |tx: &crate::Write<'_>| tx.put(Table::new("t"), &number.to_string(), &value);
            store.write::<_, MetadataError>(Durability::Synced, put).unwrap();
        }
        assert!(check() > before, "it has grown");
        drop(store);
        Store::open(&path).unwrap();
        check();
    }
}
