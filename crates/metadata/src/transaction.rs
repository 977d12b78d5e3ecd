// SPDX-License-Identifier: Apache-2.0
//! What can be done inside a transaction.

use std::path::Path;

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::MetadataError;
use crate::error::storage;

/// A table's name. Tables exist as soon as they are named; reading one that was never written finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table(&'static str);

impl Table {
    /// The table called `name`: lower-case letters, digits and `-`. Checked when a constant is compiled.
    pub const fn new(name: &'static str) -> Table {
        let bytes = name.as_bytes();
        let mut i = 0;
        assert!(!bytes.is_empty(), "a table needs a name");
        while i < bytes.len() {
            assert!(matches!(bytes[i], b'a'..=b'z' | b'0'..=b'9' | b'-'), "a table's name is a-z, 0-9 and -");
            i += 1;
        }
        Table(name)
    }

    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// A transaction that reads.
pub struct Read<'s> {
    pub(crate) transaction: ReadTransaction,
    pub(crate) path: &'s Path,
}

impl Read<'_> {
    /// The value of `key`, if it has one.
    pub fn get<T: DeserializeOwned>(&self, table: Table, key: &str) -> Result<Option<T>, MetadataError> {
        match self.transaction.open_table(table.definition()) {
            Ok(open) => get(&open, self.path, table, key),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(storage(self.path, error)),
        }
    }

    /// All keys with their values, in the order of the keys.
    pub fn list<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<(String, T)>, MetadataError> {
        match self.transaction.open_table(table.definition()) {
            Ok(open) => list(&open, self.path, table),
            Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(error) => Err(storage(self.path, error)),
        }
    }
}

/// A transaction that reads and changes. What it changed shows in its own reads.
pub struct Write<'s> {
    pub(crate) transaction: WriteTransaction,
    pub(crate) path: &'s Path,
}

impl Write<'_> {
    /// The value of `key`, if it has one.
    pub fn get<T: DeserializeOwned>(&self, table: Table, key: &str) -> Result<Option<T>, MetadataError> {
        get(&self.open(table)?, self.path, table, key)
    }

    /// All keys with their values, in the order of the keys.
    pub fn list<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<(String, T)>, MetadataError> {
        list(&self.open(table)?, self.path, table)
    }

    /// Gives `key` this value, whatever it had.
    pub fn put<T: Serialize + ?Sized>(&self, table: Table, key: &str, value: &T) -> Result<(), MetadataError> {
        let json = serde_json::to_vec(value).map_err(|source| MetadataError::Encode {
            table: table.0,
            key: key.to_owned(),
            source,
        })?;
        self.open(table)?.insert(key, json.as_slice()).map_err(|e| storage(self.path, e))?;
        Ok(())
    }

    /// Removes `key`. Says whether it was there.
    pub fn delete(&self, table: Table, key: &str) -> Result<bool, MetadataError> {
        let mut open = self.open(table)?;
        let found = open.remove(key).map_err(|e| storage(self.path, e))?.is_some();
        Ok(found)
    }

    fn open(&self, table: Table) -> Result<redb::Table<'_, &'static str, &'static [u8]>, MetadataError> {
        self.transaction.open_table(table.definition()).map_err(|e| storage(self.path, e))
    }
}

fn get<T: DeserializeOwned>(
    open: &impl ReadableTable<&'static str, &'static [u8]>,
    path: &Path,
    table: Table,
    key: &str,
) -> Result<Option<T>, MetadataError> {
    match open.get(key).map_err(|e| storage(path, e))? {
        Some(value) => decode(table, key, value.value()).map(Some),
        None => Ok(None),
    }
}

fn list<T: DeserializeOwned>(
    open: &impl ReadableTable<&'static str, &'static [u8]>,
    path: &Path,
    table: Table,
) -> Result<Vec<(String, T)>, MetadataError> {
    let mut all = Vec::new();
    for entry in open.iter().map_err(|e| storage(path, e))? {
        let (key, value) = entry.map_err(|e| storage(path, e))?;
        all.push((key.value().to_owned(), decode(table, key.value(), value.value())?));
    }
    Ok(all)
}

fn decode<T: DeserializeOwned>(table: Table, key: &str, json: &[u8]) -> Result<T, MetadataError> {
    serde_json::from_slice(json).map_err(|source| MetadataError::Decode { table: table.0, key: key.to_owned(), source })
}
