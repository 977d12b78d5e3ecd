// SPDX-License-Identifier: Apache-2.0
//! What the storage promises: a repository has what it was given, collection takes what nobody needs, and a crash or a
//! race leaves nothing that points to nothing.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use oci::Algorithm;

use crate::manifest::Pushed;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

struct Fixture {
    dir: tempfile::TempDir,
    storage: Arc<Storage>,
    uploads: Uploads,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let (storage, uploads) = Storage::open(&dir.path().join("root"), None).unwrap();
    Fixture { dir, storage: storage.into(), uploads }
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

impl Fixture {
    fn push(&self, repository: &str, content: &[u8]) -> Digest {
        let mut upload = self.uploads.begin(&name(repository), Algorithm::Sha256).unwrap();
        upload.append(content).unwrap();
        let digest = Digest::of(content);
        assert_eq!(self.storage.finish_upload(upload, digest).unwrap(), content.len() as u64);
        digest
    }

    /// A manifest whose configuration is `config`.
    fn manifest(&self, repository: &str, config: &[u8], tag: &str) -> Result<Digest, PutError> {
        let text = format!(r#"{{"config":{{"digest":"{}","size":{}}},"layers":[]}}"#, Digest::of(config), config.len());
        let pushed = Pushed::read(Some(IMAGE), Bytes::from(text), Algorithm::Sha256).unwrap();
        self.storage.put_manifest(&name(repository), &pushed, &[tag.parse().unwrap()])?;
        Ok(pushed.digest)
    }

    fn resolve(&self, repository: &str, tag: &str) -> Option<Digest> {
        let digest = self.storage.tag(&name(repository), &tag.parse().unwrap()).unwrap()?.digest;
        self.storage.manifest(&name(repository), &digest).unwrap().map(|manifest| manifest.digest)
    }

    fn uploads_on_disk(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("root/uploads")).unwrap().count()
    }
}

#[test]
fn a_blob_is_seen_only_where_it_was_pushed_or_mounted() {
    let fixture = fixture();
    let digest = fixture.push("a/b", b"blob");
    let size = |repository: &str| fixture.storage.blob_size(&name(repository), &digest).unwrap();
    assert_eq!((size("a/b"), size("a"), size("a-b")), (Some(4), None, None));
    assert!(!fixture.storage.mount(&name("c"), &digest, &name("nobody")).unwrap());
    assert_eq!(fixture.storage.repositories_with(&digest).unwrap(), [name("a/b")]);
    assert!(fixture.storage.mount(&name("c"), &digest, &name("a/b")).unwrap());
    assert_eq!(size("c"), Some(4));
    assert!(fixture.storage.delete_blob(&name("a/b"), &digest).unwrap());
    assert_eq!((size("a/b"), size("c")), (None, Some(4)));
    assert!(!fixture.storage.delete_blob(&name("a/b"), &digest).unwrap());
}

#[test]
fn an_upload_goes_on_after_a_restart() {
    let Fixture { dir, storage, uploads } = fixture();
    let mut upload = uploads.begin(&name("a"), Algorithm::Sha256).unwrap();
    upload.append(b"hel").unwrap();
    let id = upload.id();
    assert!(matches!(uploads.take(id, &name("a")), Err(UploadError::Busy)));
    drop(upload);
    drop((storage, uploads));
    let (storage, uploads) = Storage::open(&dir.path().join("root"), None).unwrap();
    assert!(uploads.take(id, &name("b")).unwrap().is_none(), "another repository's");
    let mut upload = uploads.take(id, &name("a")).unwrap().unwrap();
    assert_eq!(upload.written(), 3);
    upload.append(b"lo").unwrap();
    assert_eq!(storage.finish_upload(upload, Digest::of(b"hello")).unwrap(), 5);
    assert!(uploads.take(id, &name("a")).unwrap().is_none());
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let fixture = fixture();
    let mut upload = fixture.uploads.begin(&name("a"), Algorithm::Sha256).unwrap();
    upload.append(b"hullo").unwrap();
    let digest = Digest::of(b"hello");
    assert!(fixture.storage.finish_upload(upload, digest).is_err());
    assert_eq!(fixture.storage.blob_size(&name("a"), &digest).unwrap(), None);
    assert_eq!(fixture.uploads_on_disk(), 0);
}

#[test]
fn one_process_has_the_root() {
    let fixture = fixture();
    let again = Storage::open(&fixture.dir.path().join("root"), None);
    assert!(matches!(again, Err(StorageError::Taken { .. })));
}

#[test]
fn a_manifest_needs_its_blobs_in_its_own_repository_and_true_sizes() {
    let fixture = fixture();
    fixture.push("other", b"config");
    let missing = fixture.manifest("a", b"config", "v1");
    assert!(matches!(missing, Err(PutError::Missing(digests)) if digests == [Digest::of(b"config")]));
    assert_eq!(fixture.resolve("a", "v1"), None);
    fixture.push("a", b"config");
    let digest = fixture.manifest("a", b"config", "v1").unwrap();
    assert_eq!(fixture.resolve("a", "v1"), Some(digest));
    let text = format!(r#"{{"config":{{"digest":"{}","size":7}},"layers":[]}}"#, Digest::of(b"config"));
    let lying = Pushed::read(Some(IMAGE), Bytes::from(text), Algorithm::Sha256).unwrap();
    let refused = fixture.storage.put_manifest(&name("a"), &lying, &[]);
    assert!(matches!(refused, Err(PutError::Size { said: 7, found: 6, .. })));
}

#[test]
fn a_deleted_manifest_takes_its_tags_along_and_memory_forgets_it() {
    let fixture = fixture();
    fixture.push("a", b"1");
    fixture.push("a", b"2");
    let first = fixture.manifest("a", b"1", "one").unwrap();
    fixture.manifest("a", b"1", "uno").unwrap();
    let second = fixture.manifest("a", b"2", "two").unwrap();
    assert!(fixture.storage.delete_manifest(&name("a"), &first).unwrap());
    assert_eq!((fixture.resolve("a", "one"), fixture.resolve("a", "two")), (None, Some(second)));
    let tags = fixture.storage.tags(&name("a")).unwrap().unwrap();
    assert_eq!(tags, ["two".parse().unwrap()]);
    assert!(fixture.storage.cached_manifest(&name("a"), &first).is_none());
    assert!(!fixture.storage.delete_manifest(&name("a"), &first).unwrap());
    assert!(fixture.storage.delete_tag(&name("a"), &"two".parse().unwrap()).unwrap());
    assert!(fixture.storage.manifest(&name("a"), &second).unwrap().is_some(), "only the tag is gone");
}

#[test]
fn collection_takes_what_no_manifest_needs_and_nothing_else() {
    let fixture = fixture();
    let kept = fixture.push("a", b"kept");
    let manifest = fixture.manifest("a", b"kept", "v1").unwrap();
    let lost = fixture.push("a", b"lost");
    let deleted = fixture.push("b", b"deleted");
    fixture.storage.delete_blob(&name("b"), &deleted).unwrap();
    let upload = fixture.uploads.begin(&name("a"), Algorithm::Sha256).unwrap();
    let young = fixture.storage.collect(Duration::from_secs(3600)).unwrap();
    assert_eq!((young.marks, young.blobs, young.bytes), (0, 1, 7), "only what no repository names");
    assert_eq!(fixture.uploads.remove_abandoned(Duration::ZERO).unwrap(), 0, "somebody writes to it");
    let old = fixture.storage.collect(Duration::ZERO).unwrap();
    assert_eq!((old.marks, old.blobs), (1, 1));
    let size = |digest| fixture.storage.blob_size(&name("a"), &digest).unwrap();
    assert_eq!((size(kept), size(lost)), (Some(4), None));
    assert_eq!(fixture.resolve("a", "v1"), Some(manifest));
    drop(upload);
    assert_eq!(fixture.uploads.remove_abandoned(Duration::ZERO).unwrap(), 1);
    assert_eq!(fixture.uploads_on_disk(), 0);
}

#[test]
fn a_repository_in_which_nothing_is_left_goes_with_a_collection() {
    let fixture = fixture();
    fixture.push("a", b"1");
    let manifest = fixture.manifest("a", b"1", "v1").unwrap();
    fixture.push("b", b"2");
    fixture.push("c", b"3");
    // An entry whose manifest never came, and what somebody else put there.
    let root = fixture.dir.path().join("root/repositories");
    std::fs::create_dir_all(root.join("a/referrers").join(Digest::of("s").hex())).unwrap();
    std::fs::write(root.join("a/referrers").join(Digest::of("s").hex()).join(Digest::of("r").hex()), "{}").unwrap();
    std::fs::write(root.join("c/note"), "mine").unwrap();
    let names = |fixture: &Fixture| fixture.storage.repositories().unwrap();
    fixture.storage.delete_manifest(&name("a"), &manifest).unwrap();
    let young = fixture.storage.collect(Duration::from_secs(3600)).unwrap();
    assert_eq!((young.repositories, names(&fixture).len()), (0, 3), "its blobs may still be wanted");
    let old = fixture.storage.collect(Duration::ZERO).unwrap();
    assert_eq!((old.marks, old.repositories, names(&fixture)), (3, 2, vec![name("c")]));
    assert_eq!(fixture.storage.tags(&name("a")).unwrap(), None);
    fixture.push("a", b"1");
    fixture.manifest("a", b"1", "v1").unwrap();
    assert_eq!(fixture.storage.collect(Duration::ZERO).unwrap().repositories, 0);
    assert_eq!(names(&fixture), [name("a"), name("c")], "it can be made again");
}

#[test]
fn collecting_and_pushing_at_once_leaves_every_manifest_whole() {
    let fixture = fixture();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                fixture.storage.collect(Duration::ZERO).unwrap();
            }
        });
        for round in 0..200 {
            let content = format!("config {}", round % 3);
            fixture.push("a", content.as_bytes());
            match fixture.manifest("a", content.as_bytes(), &format!("t{round}")) {
                // Without grace the blob may go before its manifest comes; then the push is refused, never half there.
                Err(PutError::Missing(_)) => {}
                Err(error) => panic!("{error}"),
                Ok(_) => {
                    assert!(fixture.resolve("a", &format!("t{round}")).is_some());
                    let digest = Digest::of(&content);
                    assert!(fixture.storage.open_blob(&name("a"), &digest).unwrap().is_some());
                    if let Some(manifest) = fixture.resolve("a", &format!("t{round}")) {
                        fixture.storage.delete_manifest(&name("a"), &manifest).unwrap();
                    }
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn tags_written_while_their_manifest_is_deleted_never_dangle() {
    let fixture = fixture();
    fixture.push("a", b"1");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..100 {
                fixture.manifest("a", b"1", &format!("t{round}")).unwrap();
            }
        });
        let digest = fixture.manifest("a", b"1", "first").unwrap();
        for _ in 0..100 {
            fixture.storage.delete_manifest(&name("a"), &digest).unwrap();
        }
    });
    for tag in fixture.storage.tags(&name("a")).unwrap().unwrap() {
        assert!(fixture.resolve("a", tag.as_str()).is_some(), "{tag}");
    }
}

#[test]
fn a_blob_of_the_shared_store_is_not_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = ContentStore::open(&dir.path().join("engine")).unwrap();
    let digest = engine.put(b"layer").unwrap();
    let (storage, uploads) = Storage::open(&dir.path().join("root"), Some(engine.path())).unwrap();
    assert_eq!(storage.blob_size(&name("a"), &digest).unwrap(), None, "nobody pushed it");
    let mut upload = uploads.begin(&name("a"), Algorithm::Sha256).unwrap();
    upload.append(b"layer").unwrap();
    storage.finish_upload(upload, digest).unwrap();
    let inode = |root: &str| {
        let path = dir.path().join(root).join("blobs/sha256").join(digest.hex());
        path.metadata().unwrap().ino()
    };
    assert_eq!(inode("root/content"), inode("engine"));
}

#[test]
fn a_link_in_the_place_of_a_repository_is_not_followed() {
    let fixture = fixture();
    let digest = fixture.push("a", b"blob");
    let root = fixture.dir.path().join("root/repositories");
    std::os::unix::fs::symlink(root.join("a"), root.join("b")).unwrap();
    assert!(fixture.storage.blob_size(&name("b"), &digest).is_err());
}

#[test]
fn what_a_crash_left_half_is_not_shown() {
    let fixture = fixture();
    fixture.push("a", b"config");
    let manifest = fixture.manifest("a", b"config", "v1").unwrap();
    let (subject, referrer) = (Digest::of(b"subject"), Digest::of(b"referrer"));
    let repository = fixture.dir.path().join("root/repositories/a");
    // Its entry was written, and the manifest not.
    let entries = repository.join("referrers").join(subject.hex());
    std::fs::create_dir_all(&entries).unwrap();
    std::fs::write(entries.join(referrer.hex()), "{}").unwrap();
    assert_eq!(fixture.storage.referrers(&name("a"), &subject).unwrap(), [referrer]);
    assert_eq!(fixture.storage.referrer(&name("a"), &subject, &referrer).unwrap(), None);
    // A file that had not got its name yet is gone after a restart, an upload without content is none.
    let Fixture { dir, storage, uploads } = fixture;
    drop((storage, uploads));
    std::fs::write(dir.path().join("root/scratch/17"), "half").unwrap();
    let id = "01234567-89ab-4def-8123-456789abcdef";
    std::fs::create_dir(dir.path().join("root/uploads").join(id)).unwrap();
    let (storage, uploads) = Storage::open(&dir.path().join("root"), None).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("root/scratch")).unwrap().count(), 0);
    assert!(uploads.take(id.parse().unwrap(), &name("a")).unwrap().is_none());
    assert_eq!(uploads.remove_abandoned(Duration::ZERO).unwrap(), 1);
    assert!(storage.manifest(&name("a"), &manifest).unwrap().is_some());
}

#[test]
fn a_damaged_record_stops_collection_before_it_takes_anything() {
    let fixture = fixture();
    fixture.push("a", b"config");
    let manifest = fixture.manifest("a", b"config", "v1").unwrap();
    let record = fixture.dir.path().join("root/repositories/a/manifests").join(manifest.hex());
    std::fs::write(record, "not json").unwrap();
    assert!(matches!(fixture.storage.collect(Duration::ZERO), Err(StorageError::Damaged { .. })));
    assert_eq!(fixture.storage.blob_size(&name("a"), &Digest::of(b"config")).unwrap(), Some(6));
}
