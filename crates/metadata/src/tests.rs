// SPDX-License-Identifier: Apache-2.0
//! What the daemon relies on: transactions, durability across a close, and files that are not a whole store of ours.

use std::os::unix::fs::PermissionsExt as _;

use errors::{Classify as _, Kind};
use serde::{Deserialize, Serialize};

use super::*;

const NAMES: Table = Table::new("names");
const OTHER: Table = Table::new("other");

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Name {
    target: String,
}

fn name(target: &str) -> Name {
    Name { target: target.to_owned() }
}

fn put(store: &Store, durability: Durability, key: &str, value: &Name) {
    store.write(durability, |tx| tx.put(NAMES, key, value)).unwrap();
}

#[test]
fn values_come_back_in_the_order_of_their_keys_and_only_from_their_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("m")).unwrap();
    assert_eq!(store.read(|tx| tx.get::<Name>(NAMES, "a")).unwrap(), None, "a table nobody wrote is empty");
    put(&store, Durability::Relaxed, "b", &name("2"));
    put(&store, Durability::Synced, "a", &name("1"));
    let all = store.read(|tx| tx.list::<Name>(NAMES)).unwrap();
    assert_eq!(all, [("a".to_owned(), name("1")), ("b".to_owned(), name("2"))]);
    assert_eq!(store.read(|tx| tx.list::<Name>(OTHER)).unwrap(), []);
    assert!(store.write(Durability::Relaxed, |tx| tx.delete(NAMES, "a")).unwrap());
    assert!(!store.write(Durability::Relaxed, |tx| tx.delete(NAMES, "a")).unwrap());
    assert_eq!(store.read(|tx| tx.get::<Name>(NAMES, "a")).unwrap(), None);
}

#[test]
fn an_error_rolls_back_everything_and_arrives_as_it_is() {
    #[derive(Debug)]
    enum Mine {
        Metadata,
        Refused,
    }
    impl From<MetadataError> for Mine {
        fn from(_: MetadataError) -> Mine {
            Mine::Metadata
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("m")).unwrap();
    let result: Result<(), Mine> = store.write(Durability::Synced, |tx| {
        tx.put(NAMES, "a", &name("1"))?;
        assert_eq!(tx.get::<Name>(NAMES, "a")?, Some(name("1")), "its own change shows inside");
        Err(Mine::Refused)
    });
    assert!(matches!(result, Err(Mine::Refused)));
    assert_eq!(store.read(|tx| tx.list::<Name>(NAMES)).unwrap(), []);
}

#[test]
fn a_panic_in_a_transaction_leaves_the_store_usable_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("m")).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.write::<(), MetadataError>(Durability::Synced, |tx| {
            tx.put(NAMES, "a", &name("1"))?;
            panic!("as a request handler might");
        })
    }));
    assert!(panicked.is_err());
    put(&store, Durability::Synced, "b", &name("2"));
    assert_eq!(store.read(|tx| tx.list::<Name>(NAMES)).unwrap(), [("b".to_owned(), name("2"))]);
}

#[test]
fn a_closed_store_keeps_relaxed_changes_too_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    let store = Store::open(&path).unwrap();
    put(&store, Durability::Relaxed, "a", &name("1"));
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.read(|tx| tx.get::<Name>(NAMES, "a")).unwrap(), Some(name("1")));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!dir.path().join("m.new").exists());
}

/// What is on disk at one moment is what a daemon finds that starts after a `kill -9` at that moment.
#[test]
fn a_killed_daemon_loses_nothing_that_was_synced_or_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("m"), dir.path().join("copy"));
    let after_a_kill = || {
        std::fs::copy(&path, &copy).unwrap();
        Store::open(&copy).unwrap().read(|tx| tx.list::<Name>(NAMES)).unwrap().len()
    };
    let store = Store::open(&path).unwrap();
    put(&store, Durability::Synced, "a", &name("1"));
    assert_eq!(after_a_kill(), 1);
    put(&store, Durability::Relaxed, "b", &name("2"));
    store.flush().unwrap();
    assert_eq!(after_a_kill(), 2);
}

#[test]
fn a_second_daemon_is_told_that_the_store_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    let first = Store::open(&path).unwrap();
    let error = Store::open(&path).err().unwrap();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    assert!(error.to_string().contains("in use by another daemon"), "{error}");
    drop(first);
    Store::open(&path).unwrap();
}

#[test]
fn a_first_start_that_was_killed_half_way_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.new"), b"half a store").unwrap();
    let store = Store::open(&dir.path().join("m")).unwrap();
    put(&store, Durability::Synced, "a", &name("1"));
    assert!(!dir.path().join("m.new").exists());
}

#[test]
fn a_foreign_file_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    for content in [&b""[..], b"SQLite format 3\0", &[b'x'; 10_000]] {
        std::fs::write(&path, content).unwrap();
        let error = Store::open(&path).err().unwrap();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    std::fs::remove_file(&path).unwrap();
    drop(Database::create(&path).unwrap());
    assert!(matches!(Store::open(&path), Err(MetadataError::Foreign { .. })), "redb, but not ours");
}

#[test]
fn a_missing_directory_is_an_open_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::open(&dir.path().join("no/m")).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

#[test]
fn a_damaged_store_is_an_error_or_whole_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    let store = Store::open(&path).unwrap();
    for i in 0..200 {
        put(&store, Durability::Relaxed, &format!("name-{i}"), &name(&"x".repeat(100)));
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let damaged = dir.path().join("damaged");
    let mut refused = 0;
    let length = whole.len();
    // Every byte of the header, and a sample of the rest.
    for position in (0..320).chain((320..length).step_by(1009)) {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x41;
        std::fs::write(&damaged, &bytes).unwrap();
        match Store::open(&damaged) {
            Ok(store) => drop(store.read(|tx| tx.list::<Name>(NAMES))),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20, "only {refused} damaged files were noticed");
    for length in [1, 100, 4096, length / 2, length - 1] {
        std::fs::write(&damaged, &whole[..length]).unwrap();
        assert!(Store::open(&damaged).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_later_schema_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    drop(Store::open(&path).unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let format: redb::TableDefinition<'_, &str, u32> = redb::TableDefinition::new("corten.format");
    transaction.open_table(format).unwrap().insert("schema", 7).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Store::open(&path).err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("version 7"), "{error}");
}

#[test]
fn a_value_of_another_type_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("m")).unwrap();
    put(&store, Durability::Synced, "a", &name("1"));
    let error = store.read(|tx| tx.get::<u32>(NAMES, "a")).err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("\"a\"") && error.to_string().contains("names"), "{error}");
}

#[test]
fn concurrent_writers_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("m")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    store
                        .write::<_, MetadataError>(Durability::Relaxed, |tx| {
                            let n: u32 = tx.get(NAMES, "count")?.unwrap_or(0);
                            tx.put(NAMES, "count", &(n + 1))
                        })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(store.read(|tx| tx.get::<u32>(NAMES, "count")).unwrap(), Some(200));
}
