// SPDX-License-Identifier: Apache-2.0
//! The daemon's transactional store: names, containers, networks, leases and volumes, as JSON values in named tables
//! of one redb file.
//!
//! A transaction is a closure. What it returns as an error rolls everything back; so does a panic in it.
//!
//! **Architecture Invariant:** one writer. Only the daemon opens this file, and a second daemon is told so. What is in
//! the tables, and what it means, is not known here.

mod error;
mod file;
mod reserve;
mod transaction;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use redb::Database;

pub use error::MetadataError;
pub use transaction::{Read, Table, Write};

use error::storage;
use reserve::Reserve;

/// A run of relaxed commits this long is followed by a synced one: redb cannot reuse the pages they free before that.
const MAX_RELAXED: u32 = 1024;

/// When a transaction's changes survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk when [`Store::write`] returns. About a millisecond.
    Synced,
    /// Seen by every later transaction at once, on disk with the next synced commit or [`Store::flush`]. Until then
    /// they are lost with the daemon's process, not only in a power cut. About 15 microseconds.
    Relaxed,
}

/// The open store. Shared between threads by reference; readers never wait, writers wait for each other.
pub struct Store {
    database: Database,
    path: PathBuf,
    relaxed: AtomicU32,
    /// Behind the database: a lock of the file's may go with any descriptor of it.
    reserve: Reserve,
}

impl Store {
    /// Opens the store at `path`, and makes it (mode 0600) if nothing is there. The directory must exist.
    ///
    /// # Errors
    /// [`MetadataError::InUse`] while another process has it open; [`MetadataError::Foreign`],
    /// [`MetadataError::Damaged`] or [`MetadataError::Newer`] for a file that this version cannot have written whole.
    /// Such a file is left as it is.
    pub fn open(path: &Path) -> Result<Store, MetadataError> {
        let database = file::open(path)?;
        let opened = Reserve::open(path);
        let reserve = opened.map_err(|source| MetadataError::Open { path: path.to_owned(), source })?;
        Ok(Store { database, path: path.to_owned(), relaxed: AtomicU32::new(0), reserve })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `body` on one consistent view of all tables. Later writes do not show in it.
    pub fn read<T, E: From<MetadataError>>(&self, body: impl FnOnce(&Read<'_>) -> Result<T, E>) -> Result<T, E> {
        let transaction = redb::ReadableDatabase::begin_read(&self.database).map_err(|e| storage(&self.path, e))?;
        body(&Read { transaction, path: &self.path })
    }

    /// Runs `body`, and commits what it changed if it returns `Ok`. One at a time: do not block in `body`, and start
    /// no other write in it.
    pub fn write<T, E: From<MetadataError>>(
        &self,
        durability: Durability,
        body: impl FnOnce(&Write<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut transaction = self.database.begin_write().map_err(|e| storage(&self.path, e))?;
        // Only the holder of the one write transaction changes the count.
        let relaxed = self.relaxed.load(Ordering::Relaxed);
        let sync = durability == Durability::Synced || relaxed >= MAX_RELAXED;
        if !sync {
            transaction.set_durability(redb::Durability::None).map_err(|e| storage(&self.path, e))?;
            self.relaxed.store(relaxed + 1, Ordering::Relaxed);
        }
        let write = Write { transaction, path: &self.path };
        let value = body(&write)?;
        if sync {
            self.relaxed.store(0, Ordering::Relaxed);
        }
        write.transaction.commit().map_err(|error| {
            // What went before may still be unsynced; one flush too many does no harm.
            self.relaxed.fetch_add(relaxed, Ordering::Relaxed);
            storage(&self.path, error)
        })?;
        self.reserve.renew();
        Ok(value)
    }

    /// Puts on disk what relaxed transactions changed. Costs nothing when there was none since the last synced one.
    pub fn flush(&self) -> Result<(), MetadataError> {
        if self.relaxed.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.write(Durability::Synced, |_| Ok(()))
    }
}

impl Drop for Store {
    /// A store that is closed in order loses nothing. A failure has nobody left to hear of it, and is what
    /// [`Durability::Relaxed`] allows for.
    fn drop(&mut self) {
        let _: Result<(), MetadataError> = self.flush();
    }
}

#[cfg(test)]
mod tests;
