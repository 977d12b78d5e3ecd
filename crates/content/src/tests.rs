// SPDX-License-Identifier: Apache-2.0
//! What the store promises: only matching content shows, nothing half-written stays, other tools can read it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use errors::{Classify as _, Kind};
use proptest::prelude::*;

use super::*;

fn store() -> (tempfile::TempDir, ContentStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(&dir.path().join("content")).unwrap();
    (dir, store)
}

fn ingest(store: &ContentStore) -> usize {
    std::fs::read_dir(store.path().join("ingest")).unwrap().count()
}

#[test]
fn a_blob_shows_only_after_its_commit() {
    let (_dir, store) = store();
    let digest = Digest::of(b"hello");
    let mut writer = store.writer(Some(digest), Some(5)).unwrap();
    writer.write_all(b"hel").unwrap();
    writer.write_all(b"lo").unwrap();
    assert!(!store.contains(&digest));
    assert_eq!(writer.commit().unwrap(), (digest, 5));
    assert!(store.contains(&digest));
    assert_eq!(store.read_blob(&digest, 5).unwrap(), b"hello");
    assert_eq!(store.blobs().unwrap(), [(digest, 5)]);
    assert_eq!(ingest(&store), 0);
    let mode = store.blob_path(&digest).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444, "blobs are immutable");
}

#[test]
fn content_that_is_not_what_was_announced_leaves_nothing() {
    let (_dir, store) = store();
    let digest = Digest::of(b"hello");
    let mut wrong = store.writer(Some(digest), None).unwrap();
    wrong.write_all(b"hullo").unwrap();
    let error = wrong.commit().err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains(&digest.to_string()), "{error}");

    let mut short = store.writer(Some(digest), Some(5)).unwrap();
    short.write_all(b"hell").unwrap();
    assert_eq!(short.commit().err().unwrap().to_string(), "content has only 4 bytes, expected 5");

    let mut long = store.writer(Some(digest), Some(5)).unwrap();
    let error = long.append(b"hello, world").err().unwrap();
    assert_eq!(error.to_string(), "content has at least 12 bytes, expected 5");
    drop(long);

    assert_eq!(store.blobs().unwrap(), []);
    assert_eq!(ingest(&store), 0);
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let (_dir, store) = store();
    let mut writer = store.writer(None, None).unwrap();
    writer.write_all(b"half").unwrap();
    assert_eq!(ingest(&store), 1);
    drop(writer);
    assert_eq!(ingest(&store), 0);
}

#[test]
fn opening_removes_what_killed_writers_left_and_nothing_that_is_being_written() {
    let (_dir, store) = store();
    std::fs::write(store.path().join("ingest/1-1"), b"left by a killed process").unwrap();
    let mut writer = store.writer(None, None).unwrap();
    writer.write_all(b"alive").unwrap();
    let second = ContentStore::open(store.path()).unwrap();
    assert_eq!(ingest(&store), 1);
    let (digest, _) = writer.commit().unwrap();
    assert!(second.contains(&digest));
}

#[test]
fn concurrent_writers_of_one_blob_all_succeed() {
    let (_dir, store) = store();
    let content = vec![7; 100_000];
    let digest = Digest::of(&content);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut writer = store.writer(Some(digest), None).unwrap();
                for chunk in content.chunks(1000) {
                    writer.write_all(chunk).unwrap();
                }
                assert_eq!(writer.commit().unwrap(), (digest, 100_000));
            });
        }
    });
    assert_eq!(store.blobs().unwrap(), [(digest, 100_000)]);
    assert_eq!(ingest(&store), 0);
}

#[test]
fn a_blob_that_changed_on_disk_is_noticed_by_a_whole_read() {
    let (_dir, store) = store();
    let digest = store.put(b"hello").unwrap();
    let path = store.blob_path(&digest);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"hullo").unwrap();
    assert_eq!(store.read_blob(&digest, 100).err().unwrap().kind(), Kind::Corrupt);
}

#[test]
fn a_blob_over_the_callers_limit_is_not_read() {
    let (_dir, store) = store();
    let digest = store.put(b"hello").unwrap();
    assert!(matches!(store.read_blob(&digest, 4), Err(ContentError::TooLarge { max: 4, .. })));
    assert_eq!(store.read_blob(&digest, u64::MAX).unwrap(), b"hello");
}

#[test]
fn an_unknown_blob_is_not_found() {
    let (_dir, store) = store();
    let digest = Digest::of(b"x");
    assert_eq!(store.open_blob(&digest).err().unwrap().kind(), Kind::NotFound);
    assert_eq!(store.size(&digest).err().unwrap().kind(), Kind::NotFound);
    assert!(!store.remove(&digest).unwrap());
    let digest = store.put(b"x").unwrap();
    assert!(store.remove(&digest).unwrap());
    assert!(!store.contains(&digest));
}

#[test]
fn a_symlink_in_place_of_a_blob_is_not_followed() {
    let (dir, store) = store();
    std::fs::write(dir.path().join("secret"), b"secret").unwrap();
    let digest = Digest::of(b"secret");
    std::os::unix::fs::symlink(dir.path().join("secret"), store.blob_path(&digest)).unwrap();
    assert!(!store.contains(&digest));
    assert!(store.open_blob(&digest).is_err());
}

#[test]
fn the_store_is_a_valid_layout_and_private() {
    let (_dir, store) = store();
    let layout = std::fs::read_to_string(store.path().join("oci-layout")).unwrap();
    assert_eq!(layout, r#"{"imageLayoutVersion":"1.0.0"}"#);
    let entry = IndexEntry {
        name: "docker.io/library/debian:12".to_owned(),
        digest: Digest::of(b"{}"),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        size: 2,
    };
    store.write_index(std::slice::from_ref(&entry)).unwrap();
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(store.path().join("index.json")).unwrap()).unwrap();
    assert_eq!(index["schemaVersion"], 2);
    assert_eq!(index["manifests"][0]["digest"], entry.digest.to_string());
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], entry.name);
    assert_eq!(store.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(ingest(&store), 0);
    ContentStore::open(store.path()).unwrap();
    let again = std::fs::read(store.path().join("index.json")).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&again).unwrap(), index, "opening keeps the index");
}

#[test]
fn a_layout_of_another_version_is_refused() {
    let (_dir, store) = store();
    for text in [r#"{"imageLayoutVersion":"2.0.0"}"#, "no json", ""] {
        std::fs::write(store.path().join("oci-layout"), text).unwrap();
        assert_eq!(ContentStore::open(store.path()).err().unwrap().kind(), Kind::Unsupported);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_is_written_in_whatever_pieces_is_read_back(
        content in proptest::collection::vec(any::<u8>(), 0..5000),
        piece in 1usize..700,
    ) {
        let (_dir, store) = store();
        let mut writer = store.writer(None, Some(content.len() as u64)).unwrap();
        for chunk in content.chunks(piece) {
            writer.write_all(chunk).unwrap();
        }
        let (digest, size) = writer.commit().unwrap();
        prop_assert_eq!(digest, Digest::of(&content));
        prop_assert_eq!(size, content.len() as u64);
        prop_assert_eq!(store.read_blob(&digest, size).unwrap(), content);
    }
}

#[test]
fn a_partial_blob_outlives_its_process_and_shows_only_when_whole() {
    let (dir, store) = store();
    let parts = dir.path().join("parts");
    std::fs::create_dir(&parts).unwrap();
    let open = || File::open(&parts).unwrap().into();
    let partials = PartialDirectory::new(&store, open(), &parts);
    let mut first = partials.create("one", Algorithm::Sha256).unwrap();
    first.append(b"hel").unwrap();
    drop(first);
    let mut second = PartialDirectory::new(&store, open(), &parts).resume("one").unwrap();
    assert_eq!(second.written(), 3);
    second.append(b"lo").unwrap();
    let digest = Digest::of(b"hello");
    assert!(!store.contains(&digest));
    assert_eq!(second.commit(digest).unwrap(), 5);
    assert_eq!(store.read_blob(&digest, 5).unwrap(), b"hello");
    let mut wrong = partials.create("two", Algorithm::Sha256).unwrap();
    wrong.append(b"hullo").unwrap();
    assert_eq!(wrong.commit(digest).unwrap_err().kind(), Kind::Corrupt);
    let mut again = partials.create("three", Algorithm::Sha256).unwrap();
    again.append(b"hello").unwrap();
    assert_eq!(again.commit(digest).unwrap(), 5);
    assert_eq!(std::fs::read_dir(&parts).unwrap().count(), 0, "nothing is left of any of them");
}

#[test]
fn a_blob_lies_below_the_name_of_its_algorithm() {
    let (dir, store) = store();
    let (long, short) = (Algorithm::Sha512.digest(b"hello"), store.put(b"hello").unwrap());
    assert!(!store.contains(&long), "the same bytes under another name are another blob");
    store.put_as(&long, b"hello").unwrap();
    let path = store.path().join("blobs/sha512").join(long.hex());
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    assert_eq!(store.read_blob(&long, 5).unwrap(), b"hello");
    assert_eq!(store.blobs().unwrap(), [(short, 5), (long, 5)]);
    let error = store.put_as(&Algorithm::Sha512.digest(b"other"), b"hello").unwrap_err();
    assert!(matches!(&error, ContentError::Digest(mismatch) if mismatch.found == long), "{error}");
    let other = ContentStore::open(&dir.path().join("other")).unwrap();
    assert!(other.link_from(&store, &long).unwrap() && other.contains(&long));
    // Damaged on the disk.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "hullo").unwrap();
    assert!(matches!(store.read_blob(&long, 5), Err(ContentError::Digest(_))));
    // A name of the other length is not one of these.
    std::fs::write(store.path().join("blobs/sha512").join(short.hex()), "hello").unwrap();
    assert_eq!(store.blobs().unwrap().len(), 2);
    assert!(store.remove(&long).unwrap() && store.contains(&short));
}

#[test]
fn what_came_is_hashed_anew_where_its_digest_has_another_algorithm() {
    let (dir, store) = store();
    let partials = PartialDirectory::new(&store, File::open(dir.path()).unwrap().into(), dir.path());
    for (number, begun) in Algorithm::ALL.into_iter().enumerate() {
        for wanted in Algorithm::ALL {
            let content = format!("{number}{}", wanted.as_str());
            let mut blob = partials.create("part", begun).unwrap();
            blob.append(content.as_bytes()).unwrap();
            let digest = wanted.digest(&content);
            assert_eq!(blob.commit(digest).unwrap(), content.len() as u64);
            assert_eq!(store.read_blob(&digest, 100).unwrap(), content.as_bytes());
        }
    }
    let mut wrong = partials.create("part", Algorithm::Sha256).unwrap();
    wrong.append(b"hullo").unwrap();
    let error = wrong.commit(Algorithm::Sha512.digest(b"hello")).unwrap_err();
    assert!(matches!(error, ContentError::Digest(mismatch) if mismatch.found == Algorithm::Sha512.digest(b"hullo")));
    assert!(!dir.path().join("part").exists());
}

#[test]
fn a_blob_linked_from_another_store_has_its_bytes_once() {
    use std::os::unix::fs::MetadataExt as _;
    let (dir, store) = store();
    let other = ContentStore::open(&dir.path().join("other")).unwrap();
    let digest = other.put(b"shared").unwrap();
    assert!(store.link_from(&other, &digest).unwrap());
    assert!(store.link_from(&other, &digest).unwrap(), "a second time it is here already");
    let inode = |store: &ContentStore| store.blob_path(&digest).metadata().unwrap().ino();
    assert_eq!(inode(&store), inode(&other));
    other.remove(&digest).unwrap();
    assert_eq!(store.read_blob(&digest, 10).unwrap(), b"shared");
    assert!(!store.link_from(&other, &Digest::of(b"nobody's")).unwrap());
}

#[test]
fn an_interrupted_blob_goes_on_where_it_stopped_also_in_a_store_opened_anew() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for algorithm in Algorithm::ALL {
        interrupted(&content, algorithm.digest(&content));
    }
}

fn interrupted(content: &[u8], digest: Digest) {
    let dir = tempfile::tempdir().unwrap();
    let size = content.len() as u64;
    let ingest = || std::fs::read_dir(dir.path().join("ingest")).unwrap().count();
    let store = ContentStore::open(dir.path()).unwrap();
    let mut first = store.resume(digest, size).unwrap();
    assert_eq!(first.written(), 0);
    first.append(&content[..2_000_000]).unwrap();
    let beside = store.resume(digest, size).unwrap();
    assert_eq!(beside.written(), 0, "while one writes it, another begins at the start");
    drop((first, beside));
    assert_eq!(ingest(), 1);
    let store = ContentStore::open(dir.path()).unwrap();
    let mut second = store.resume(digest, size).unwrap();
    assert_eq!(second.written(), 2_000_000);
    let mut before = Vec::new();
    std::io::Read::read_to_end(&mut second.reader().unwrap(), &mut before).unwrap();
    assert!(before == content[..2_000_000]);
    second.append(&content[2_000_000..]).unwrap();
    assert_eq!(second.commit().unwrap(), (digest, size));
    assert!(store.read_blob(&digest, size).unwrap() == content);
    assert_eq!(ingest(), 0);
}

#[test]
fn a_partial_blob_that_is_wrong_small_or_old_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path()).unwrap();
    let content = vec![7; 2_000_000];
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    let partial = dir.path().join("ingest").join(format!("partial-{}", digest.hex()));
    let mut small = store.resume(digest, size).unwrap();
    small.append(&content[..1000]).unwrap();
    drop(small);
    assert!(!partial.exists());
    // Damaged while nobody wrote.
    std::fs::write(&partial, vec![8; 1_500_000]).unwrap();
    let mut wrong = store.resume(digest, size).unwrap();
    assert_eq!(wrong.written(), 1_500_000);
    wrong.append(&content[1_500_000..]).unwrap();
    assert!(matches!(wrong.commit(), Err(ContentError::Digest(_))));
    assert!(!partial.exists());
    // Longer than the blob.
    std::fs::write(&partial, vec![7; 2_500_000]).unwrap();
    assert_eq!(store.resume(digest, size).unwrap().written(), 0);
    std::fs::write(&partial, &content[..1_500_000]).unwrap();
    let two_days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(48 * 3600);
    File::options().write(true).open(&partial).unwrap().set_modified(two_days_ago).unwrap();
    assert_eq!(store.resume(digest, size).unwrap().written(), 0);
    std::fs::write(&partial, &content[..1_500_000]).unwrap();
    let mut forgotten = store.resume(digest, size).unwrap();
    forgotten.forget();
    drop(forgotten);
    assert!(!partial.exists());
}

#[test]
fn what_a_full_disk_refused_can_be_written_again() {
    // A limit of the process's for the size of its files would do, too, but it would be for all tests.
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path()).unwrap();
    let mut writer = store.writer(None, Some(6)).unwrap();
    writer.append(b"abc").unwrap();
    // As an attempt leaves the file that got half of its bytes down.
    let path = std::fs::read_dir(directory.path().join("ingest")).unwrap().next().unwrap().unwrap().path();
    std::io::Write::write_all(&mut File::options().append(true).open(&path).unwrap(), b"de").unwrap();
    writer.append(b"def").unwrap();
    let (digest, _) = writer.commit().unwrap();
    assert_eq!((digest, store.read_blob(&digest, 10).unwrap()), (Digest::of(b"abcdef"), b"abcdef".to_vec()));
}
