// SPDX-License-Identifier: Apache-2.0
//! The store's file: made whole or not at all, and recognised before anything in it is believed.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, StorageError, TableDefinition, TableError};

use crate::MetadataError;
use crate::error::storage;

/// The meaning of the tables. To be raised, with a migration, when an older Corten could misread them.
const SCHEMA: u32 = 1;
/// Where the schema version stands. [`crate::Table`] allows no dot in a name, so none can collide with it.
const FORMAT: TableDefinition<'static, &'static str, u32> = TableDefinition::new("corten.format");
/// The key of the schema version.
const SCHEMA_KEY: &str = "schema";
/// redb's page cache. The tables are small; redb's default of a gigabyte is not meant for a daemon beside other work.
const CACHE_BYTES: usize = 16 << 20;

/// Opens the database at `path`, or makes it.
pub(crate) fn open(path: &Path) -> Result<Database, MetadataError> {
    match path.symlink_metadata() {
        Ok(_) => existing(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        Err(source) => Err(MetadataError::Open { path: path.to_owned(), source }),
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // A page that changed behind redb's back is an error at once, not a panic later.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn existing(path: &Path) -> Result<Database, MetadataError> {
    let database = builder().open(path).map_err(|error| refused(path, error))?;
    let found = schema(&database, path)?;
    match found {
        Some(SCHEMA) => Ok(database),
        Some(found) => Err(MetadataError::Newer { path: path.to_owned(), found, known: SCHEMA }),
        None => Err(MetadataError::Foreign { path: path.to_owned() }),
    }
}

/// The schema version in the file; none in a database of somebody else.
fn schema(database: &Database, path: &Path) -> Result<Option<u32>, MetadataError> {
    let transaction = database.begin_read().map_err(|e| storage(path, e))?;
    match transaction.open_table(FORMAT) {
        Ok(table) => Ok(table.get(SCHEMA_KEY).map_err(|e| storage(path, e))?.map(|version| version.value())),
        Err(TableError::Storage(error)) => Err(storage(path, error)),
        Err(_) => Ok(None),
    }
}

/// A new file gets its name only when it is a whole store: a daemon killed half-way leaves nothing that the next one
/// would have to call foreign.
fn create(path: &Path) -> Result<Database, MetadataError> {
    let open_error = |source| MetadataError::Open { path: path.to_owned(), source };
    let temporary = with_suffix(path, ".new");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&temporary)
        .map_err(open_error)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(MetadataError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(open_error(source)),
    }
    // Another daemon may have finished and renamed the same file between the open and the lock.
    if !is_at(&file, &temporary).map_err(open_error)? {
        return Err(MetadataError::InUse { path: path.to_owned() });
    }
    file.set_len(0).map_err(open_error)?;
    let backend = FileBackend::new(file).map_err(|error| refused(path, error))?;
    let database = builder().create_with_backend(backend).map_err(|error| refused(path, error))?;
    let transaction = database.begin_write().map_err(|e| storage(path, e))?;
    transaction
        .open_table(FORMAT)
        .map_err(|e| storage(path, e))?
        .insert(SCHEMA_KEY, SCHEMA)
        .map_err(|e| storage(path, e))?;
    transaction.commit().map_err(|e| storage(path, e))?;
    std::fs::rename(&temporary, path).map_err(open_error)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(open_error)?;
    Ok(database)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Why redb refused the file at `path`.
fn refused(path: &Path, error: DatabaseError) -> MetadataError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => MetadataError::InUse { path },
        DatabaseError::UpgradeRequired(_) => MetadataError::Foreign { path },
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => MetadataError::Foreign { path },
            _ => MetadataError::Open { path, source: error },
        },
        other => MetadataError::Damaged { path, source: Box::new(other.into()) },
    }
}
