// SPDX-License-Identifier: Apache-2.0
//! What is particular to layers kept as archives: both forms in one store, what is refused, and what is damaged. Needs
//! root, a kernel that mounts EROFS from files, and a `/tmp` from which it does; it does not from a tmpfs.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use errors::{Classify as _, Kind};

use super::*;
use crate::{Choice, open};

fn archive(name: &str, content: &[u8]) -> (Digest, Vec<u8>) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content).unwrap();
    let tar = builder.into_inner().unwrap();
    (Digest::of(&tar), tar)
}

fn unpack(store: &dyn Snapshotter, name: &str) -> Digest {
    let (diff_id, tar) = archive(name, name.as_bytes());
    store.unpack(&diff_id, &mut &tar[..]).unwrap();
    diff_id
}

/// What is in a read-only mount of these layers: names and content.
fn files(store: &dyn Snapshotter, layers: &[Digest]) -> Vec<(String, String)> {
    let container = tempfile::tempdir().unwrap();
    let mount =
        store.mount(container.path(), layers, MountOptions { read_only: true, ..MountOptions::default() }).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}/", mount.as_raw_fd()));
    let file = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
    };
    let mut files: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| file(entry.unwrap())).collect();
    files.sort();
    files
}

fn both(names: [&str; 2]) -> Vec<(String, String)> {
    names.map(|name| (name.to_owned(), name.to_owned())).to_vec()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn layers_of_both_forms_are_stacked() {
    let root = tempfile::tempdir().unwrap();
    let directories = Directories::open(root.path()).unwrap();
    let old = unpack(&directories, "old");
    let archives = TarIndex::open(root.path()).unwrap();
    assert!(archives.contains(&old), "what was there is known");
    let new = unpack(&archives, "new");
    assert_eq!(archives.describe().status.last().unwrap().1, "1 of 2 layers");
    for store in [&archives as &dyn Snapshotter, &Directories::open(root.path()).unwrap()] {
        for layers in [[old, new], [new, old]] {
            assert_eq!(files(store, &layers), both(["new", "old"]));
        }
    }
    let layers = root.path().join("layers");
    assert_eq!(names(&layers.join(old.hex())), ["diff", "implied", "info.json"]);
    assert_eq!(names(&layers.join(new.hex())), ["implied", "index.erofs", "info.json", "layer.tar"]);
    for file in ["layer.tar", "index.erofs"] {
        let mode = layers.join(new.hex()).join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400, "{file}");
    }
    assert!(archives.remove_layer(&new).unwrap() && archives.remove_layer(&old).unwrap());
    assert_eq!(names(&layers), [".empty", ".mount-points"]);
}

#[test]
fn a_mounted_layer_outlives_its_removal_from_the_store() {
    let root = tempfile::tempdir().unwrap();
    let store = TarIndex::open(root.path()).unwrap();
    let (diff_id, tar) = archive("file", &[7; 3_000_000]);
    store.unpack(&diff_id, &mut &tar[..]).unwrap();
    let container = tempfile::tempdir().unwrap();
    let mount = store.mount(container.path(), &[diff_id], MountOptions::default()).unwrap();
    store.remove_layer(&diff_id).unwrap();
    let content = std::fs::read(format!("/proc/self/fd/{}/file", mount.as_raw_fd())).unwrap();
    assert!(content == [7; 3_000_000]);
}

#[test]
fn containers_share_a_layers_mount_until_the_last_of_them_is_gone() {
    use std::os::unix::fs::MetadataExt as _;
    let root = tempfile::tempdir().unwrap();
    let store = TarIndex::open(root.path()).unwrap();
    let diff_id = unpack(&store, "a");
    let containers = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let device = |mount: &OwnedFd| {
        let file = format!("/proc/self/fd/{}/a", mount.as_raw_fd());
        std::fs::metadata(file).unwrap().dev()
    };
    let mount = |index: usize| {
        let mounted = store.mount(containers[index].path(), &[diff_id], MountOptions::default()).unwrap();
        let shared = store
            .directories
            .store
            .layer(&diff_id)
            .map(|(_, form)| store.directories.open_layer(containers[index].path(), &diff_id, form).unwrap());
        (mounted, device(&shared.unwrap()))
    };
    let (first, number) = mount(0);
    let (second, same) = mount(1);
    assert_eq!(number, same, "one mount for both");
    store.unmounted(containers[0].path());
    drop(first);
    let (third, same) = mount(2);
    assert_eq!(number, same, "it lasts");
    drop((second, third));
    store.unmounted(containers[1].path());
    store.remove_container(containers[2].path()).unwrap();
    assert_eq!(store.directories.mounts.count(), (1, 1), "it waits for the next");
    let (fourth, same) = mount(0);
    assert_eq!(number, same);
    assert_eq!(store.directories.mounts.count(), (1, 0));
    drop(fourth);
    store.unmounted(containers[0].path());
    // What is kept of a layer goes with it.
    store.remove_layer(&diff_id).unwrap();
    assert_eq!(store.directories.mounts.count(), (0, 0));
}

#[test]
fn of_the_layers_without_a_container_so_many_stay_mounted() {
    let root = tempfile::tempdir().unwrap();
    let store = TarIndex::open(root.path()).unwrap();
    let container = tempfile::tempdir().unwrap();
    let layers: Vec<Digest> = (0..67).map(|index| unpack(&store, &format!("file-{index}"))).collect();
    store.mount(container.path(), &layers, MountOptions { read_only: true, ..MountOptions::default() }).unwrap();
    assert_eq!(store.directories.mounts.count(), (67, 0));
    store.unmounted(container.path());
    assert_eq!(store.directories.mounts.count(), (64, 64));
}

#[test]
fn a_layer_that_lost_a_part_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let diff_id = unpack(&TarIndex::open(root.path()).unwrap(), "a");
    let path = root.path().join("layers").join(diff_id.hex());
    for part in ["layer.tar", "index.erofs", "info.json"] {
        std::fs::remove_file(path.join(part)).unwrap();
        let store = TarIndex::open(root.path()).unwrap();
        assert!(!store.contains(&diff_id), "{part}");
        unpack(&store, "a");
        assert_eq!(files(&store, &[diff_id]).len(), 1);
    }
}

#[test]
fn where_archives_cannot_be_mounted_there_are_directories_and_the_reason() {
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let error = open(root.path(), Some(Choice::TarIndex)).err().expect("no EROFS from a tmpfs");
    assert!(matches!(error, SnapshotError::Index { .. }) && error.kind() != Kind::Internal, "{error:?}");
    assert!(error.hint().unwrap().contains("--snapshotter directories"));
    // An archive that was brought here counts as absent.
    let elsewhere = tempfile::tempdir().unwrap();
    let diff_id = unpack(&TarIndex::open(elsewhere.path()).unwrap(), "a");
    let (from, to) =
        (elsewhere.path().join("layers").join(diff_id.hex()), root.path().join("layers").join(diff_id.hex()));
    std::fs::create_dir(&to).unwrap();
    for part in names(&from) {
        std::fs::copy(from.join(&part), to.join(&part)).unwrap();
    }
    for choice in [None, Some(Choice::Directories)] {
        let store = open(root.path(), choice).unwrap();
        assert!(!store.contains(&diff_id), "{choice:?}");
        let description = store.describe();
        assert_eq!(description.driver, "directories");
        assert!(description.status.iter().any(|(name, value)| name == "Archives" && value.starts_with("not used: ")));
    }
    let store = open(root.path(), None).unwrap();
    unpack(&*store, "a");
    assert_eq!(files(&*store, &[diff_id]).len(), 1);
    assert_eq!(names(&to), ["diff", "implied", "info.json"]);
    assert_eq!(names(&root.path().join("layers")).len(), 3, "the attempt leaves nothing");
}

#[test]
fn without_a_choice_archives_are_kept_where_they_can_be_mounted() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(open(root.path(), None).unwrap().describe().driver, "tar-index");
    assert_eq!(open(root.path(), Some(Choice::Directories)).unwrap().describe().driver, "directories");
}

#[test]
fn a_failed_unpack_leaves_nothing_in_the_store() {
    let root = tempfile::tempdir().unwrap();
    let store = TarIndex::open(root.path()).unwrap();
    let (diff_id, mut tar) = archive("a", b"content");
    tar[600] ^= 1;
    assert!(matches!(store.unpack(&diff_id, &mut &tar[..]), Err(SnapshotError::Digest(_))));
    tar[10] ^= 1;
    assert!(matches!(store.unpack(&diff_id, &mut &tar[..]), Err(SnapshotError::Unpack { .. })));
    assert_eq!(names(&root.path().join("layers")), [".empty", ".mount-points"]);
}
