// SPDX-License-Identifier: Apache-2.0
//! What any [`Snapshotter`] owes to who has a root mounted ahead: each sentence of [`Snapshotter::prepare`]. Needs root, and
//! Linux 6.8 to tell mounts apart.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod disks;
mod races;
#[path = "../support/mod.rs"]
mod support;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use errors::{Classify as _, Kind};
use oci::Digest;
use rustix::fs::{AtFlags, StatxFlags};
use snapshot::{Directories, Ids, MountOptions, Snapshotter, TarIndex};
use support::{Layer, in_mount, names, user_namespace};

const WRITABLE: MountOptions = MountOptions { read_only: false, volatile: false, mount_points: false };
const READ_ONLY: MountOptions = MountOptions { read_only: true, ..WRITABLE };
const VOLATILE: MountOptions = MountOptions { volatile: true, ..WRITABLE };
/// As a container that is removed when it ends has them.
const PASSING: MountOptions = MountOptions { volatile: true, mount_points: true, ..WRITABLE };

#[test]
fn directories_conform() {
    let root = tempfile::tempdir().unwrap();
    conforms(&Directories::open(root.path()).unwrap());
}

#[test]
fn the_tar_index_conforms() {
    let root = tempfile::tempdir().unwrap();
    conforms(&TarIndex::open(root.path()).expect("this test needs a kernel that mounts EROFS from files"));
}

#[test]
fn directories_let_go_of_what_a_disk_holds() {
    disks::conforms(|root| Directories::open(root).unwrap());
}

#[test]
fn the_tar_index_lets_go_of_what_a_disk_holds() {
    disks::conforms(|root| TarIndex::open(root).unwrap());
}

fn conforms(store: &dyn Snapshotter) {
    the_next_mount_is_the_one_that_waits(store);
    it_is_what_a_fresh_one_is(store);
    at_most_one_waits(store);
    other_arguments_let_go_of_it(store);
    it_goes_with_its_directory(store);
    it_goes_with_any_of_its_layers(store);
    what_cannot_be_mounted_leaves_nothing(store);
    what_a_container_wrote_is_never_let_go_of(store);
    races::threads_get_what_they_asked_for(store);
}

/// A directory as the engine makes it: with something in it that is not the snapshotter's.
fn container() -> tempfile::TempDir {
    let container = tempfile::tempdir().unwrap();
    std::fs::write(container.path().join("config.json"), b"the engine's").unwrap();
    container
}

/// Nothing is in the directory but what is the engine's.
fn is_clean(container: &Path) -> bool {
    names(container) == ["config.json"]
}

/// A layer whose root has this mode and owner; its file `who` tells it from others.
fn unpack(store: &dyn Snapshotter, mode: u32, owner: u32) -> Digest {
    let layer = Layer::new().owned_directory("./", mode, owner.into(), owner.into()).directory("etc", 0o755);
    let layer = layer.file("who", owner.to_string().as_bytes()).finish();
    store.unpack(&layer.diff_id, &mut &layer.tar[..]).unwrap();
    layer.diff_id
}

/// A number of the mount: the later it was made, the larger.
fn number(mount: &OwnedFd) -> u64 {
    // STATX_MNT_ID_UNIQUE
    let unique = StatxFlags::from_bits_retain(0x4000);
    let found = rustix::fs::statx(mount, "", AtFlags::EMPTY_PATH, unique).unwrap();
    assert!(StatxFlags::from_bits_retain(found.stx_mask).contains(unique), "this kernel does not number mounts");
    found.stx_mnt_id
}

/// What the number of a mount is compared with that is made later, or was made before.
fn now(store: &dyn Snapshotter) -> u64 {
    let container = tempfile::tempdir().unwrap();
    number(&store.mount(container.path(), &[], READ_ONLY).unwrap())
}

/// The content of `who`, and the owner and the mode of the root.
fn seen(mount: OwnedFd) -> (String, u32, u32) {
    in_mount(mount, |root| {
        let meta = root.metadata().unwrap();
        assert_eq!(meta.mtime(), support::MTIME.cast_signed());
        (std::fs::read_to_string(root.join("who")).unwrap(), meta.uid(), meta.permissions().mode() & 0o7777)
    })
}

fn the_next_mount_is_the_one_that_waits(store: &dyn Snapshotter) {
    let layer = unpack(store, 0o755, 1);
    for options in [WRITABLE, READ_ONLY, VOLATILE, PASSING] {
        let container = container();
        let mount = || store.mount(container.path(), &[layer], options).unwrap();
        store.prepare(container.path(), &[layer], options).unwrap();
        let prepared = now(store);
        store.prepare(container.path(), &[layer], options).unwrap();
        let first = mount();
        assert!(number(&first) < prepared, "{options:?}: it was there, and was not made anew by preparing it twice");
        assert_eq!(seen(first), ("1".to_owned(), 1, 0o755));
        assert!(number(&mount()) > prepared, "{options:?}: one mount is handed out once");
        store.remove_container(container.path()).unwrap();
        assert!(is_clean(container.path()));
    }
    store.remove_layer(&layer).unwrap();
}

/// All that can be told of a new mount: the root's attributes and names, what is in the writable directory and beside it.
fn description(container: &Path, mount: OwnedFd) -> Vec<String> {
    let container = container.to_owned();
    in_mount(mount, move |root| {
        let mut all = Vec::new();
        for path in [root, &container.join("upper"), &container.join("work")] {
            let meta = path.metadata().unwrap();
            all.push(format!("{:o} {} {} {:?}", meta.mode(), meta.uid(), meta.gid(), names(path)));
        }
        all.push(format!("{} {}", root.metadata().unwrap().mtime(), root.metadata().unwrap().mtime_nsec()));
        let inside = container.join("work/work");
        all.push(format!("{:?} {:?}", names(&inside), inside.join("incompat/volatile").exists()));
        let info = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = info.lines().find(|line| line.contains(root.to_str().unwrap())).unwrap();
        let (_, kind) = line.split_once(" - ").unwrap();
        // Directories are told by the numbers that their descriptors had.
        let told = kind.split(',').filter(|option| !option.contains("dir=") && !option.contains("dir+="));
        all.push(told.collect::<Vec<_>>().join(","));
        all
    })
}

fn it_is_what_a_fresh_one_is(store: &dyn Snapshotter) {
    let (below, above) = (unpack(store, 0o711, 3), unpack(store, 0o3775, 4));
    let implied = Layer::new().file("deep/er/file", b"").finish();
    store.unpack(&implied.diff_id, &mut &implied.tar[..]).unwrap();
    for layers in [&[][..], &[below], &[below, above], &[below, implied.diff_id], &[above, below, above]] {
        for options in [WRITABLE, VOLATILE, PASSING] {
            let (ahead, fresh) = (container(), container());
            store.prepare(ahead.path(), layers, options).unwrap();
            let taken = store.mount(ahead.path(), layers, options).unwrap();
            let taken = description(ahead.path(), taken);
            let made = description(fresh.path(), store.mount(fresh.path(), layers, options).unwrap());
            assert_eq!(taken, made, "{layers:?} {options:?}");
            // A volatile one can be had again as well.
            drop(store.mount(ahead.path(), layers, options).unwrap());
            store.remove_container(ahead.path()).unwrap();
            store.remove_container(fresh.path()).unwrap();
        }
    }
    for layer in [below, above, implied.diff_id] {
        store.remove_layer(&layer).unwrap();
    }
}

fn at_most_one_waits(store: &dyn Snapshotter) {
    let layer = unpack(store, 0o700, 5);
    let (one, two) = (container(), container());
    store.prepare(one.path(), &[layer], PASSING).unwrap();
    store.prepare(two.path(), &[layer], PASSING).unwrap();
    let prepared = now(store);
    assert!(is_clean(one.path()), "nothing is left of the first");
    let [second, first] = [&two, &one].map(|container| store.mount(container.path(), &[layer], PASSING).unwrap());
    assert!(number(&second) < prepared && number(&first) > prepared);
    assert_eq!(seen(first), seen(second));
    for container in [&one, &two] {
        store.remove_container(container.path()).unwrap();
    }
    store.remove_layer(&layer).unwrap();
}

fn other_arguments_let_go_of_it(store: &dyn Snapshotter) {
    let (old, new) = (unpack(store, 0o1700, 6), unpack(store, 0o755, 7));
    for (layers, options) in [(&[new][..], PASSING), (&[old, new], PASSING), (&[new], VOLATILE), (&[new], WRITABLE)] {
        let container = container();
        store.prepare(container.path(), &[old], PASSING).unwrap();
        let prepared = now(store);
        let mount = store.mount(container.path(), layers, options).unwrap();
        assert!(number(&mount) > prepared);
        assert_eq!(seen(mount), ("7".to_owned(), 7, 0o755), "mode and owner of the root are its own layers'");
        // What waited does not come back.
        assert!(number(&store.mount(container.path(), &[old], PASSING).unwrap()) > prepared);
        store.remove_container(container.path()).unwrap();
    }
    // Options are arguments, too.
    for (waiting, wanted) in [(PASSING, VOLATILE), (WRITABLE, VOLATILE), (VOLATILE, WRITABLE), (READ_ONLY, WRITABLE)] {
        let container = container();
        store.prepare(container.path(), &[old], waiting).unwrap();
        let prepared = now(store);
        assert!(number(&store.mount(container.path(), &[old], wanted).unwrap()) > prepared, "{waiting:?} {wanted:?}");
        store.remove_container(container.path()).unwrap();
    }
    let container = container();
    let prepare = |layers: &[Digest], options| store.prepare(container.path(), layers, options).unwrap();
    prepare(&[old], WRITABLE);
    drop(store.mount(container.path(), &[new], READ_ONLY).unwrap());
    assert!(is_clean(container.path()), "nothing writable is left for one that cannot be written");
    prepare(&[old], WRITABLE);
    prepare(&[new], WRITABLE);
    assert_eq!(seen(store.mount(container.path(), &[new], WRITABLE).unwrap()), ("7".to_owned(), 7, 0o755));
    store.remove_container(container.path()).unwrap();

    prepare(&[old], WRITABLE);
    let prepared = now(store);
    let namespace = user_namespace(800_000);
    let ids = Ids { namespace: namespace.as_fd(), uid: 800_000, gid: 800_000 };
    let mount = store.mount_mapped(container.path(), &[old], WRITABLE, ids).unwrap();
    assert!(number(&mount) > prepared);
    assert_eq!(seen(mount), ("6".to_owned(), 800_006, 0o1700));
    store.remove_container(container.path()).unwrap();
    for layer in [old, new] {
        store.remove_layer(&layer).unwrap();
    }
}

fn it_goes_with_its_directory(store: &dyn Snapshotter) {
    let layer = unpack(store, 0o755, 8);
    let container = container();
    let removed = |path: &Path| store.remove_container(path).unwrap();
    for let_go in [&(|path: &Path| store.unmounted(path)) as &dyn Fn(&Path), &removed] {
        store.prepare(container.path(), &[layer], PASSING).unwrap();
        let prepared = now(store);
        let_go(container.path());
        assert!(is_clean(container.path()));
        assert!(number(&store.mount(container.path(), &[layer], PASSING).unwrap()) > prepared);
        store.remove_container(container.path()).unwrap();
    }
    // Another directory's end is none of its business.
    store.prepare(container.path(), &[layer], PASSING).unwrap();
    let (prepared, other) = (now(store), tempfile::tempdir().unwrap());
    store.unmounted(other.path());
    store.remove_container(other.path()).unwrap();
    assert!(number(&store.mount(container.path(), &[layer], PASSING).unwrap()) < prepared);
    store.remove_container(container.path()).unwrap();
    store.remove_layer(&layer).unwrap();
}

fn it_goes_with_any_of_its_layers(store: &dyn Snapshotter) {
    let layers = [(0o755, 9), (0o700, 10), (0o711, 11)].map(|(mode, owner)| unpack(store, mode, owner));
    for (index, layer) in layers[1..].iter().enumerate() {
        let container = container();
        let prepared = store.prepare(container.path(), &layers[index + 1..], PASSING);
        prepared.unwrap();
        assert!(store.remove_layer(layer).unwrap());
        assert!(is_clean(container.path()));
        let error = store.mount(container.path(), &layers[index + 1..], PASSING).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(is_clean(container.path()));
    }
    // Others' layers do not matter.
    let (container, other) = (container(), unpack(store, 0o755, 12));
    store.prepare(container.path(), &layers[..1], PASSING).unwrap();
    let prepared = now(store);
    store.remove_layer(&other).unwrap();
    assert!(number(&store.mount(container.path(), &layers[..1], PASSING).unwrap()) < prepared);
    store.remove_container(container.path()).unwrap();
    store.remove_layer(&layers[0]).unwrap();
}

fn what_cannot_be_mounted_leaves_nothing(store: &dyn Snapshotter) {
    let (layer, missing) = (unpack(store, 0o755, 13), Digest::of(b"missing"));
    let container = container();
    let error = store.prepare(container.path(), &[layer, missing], PASSING).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains(&missing.to_string()));
    let nowhere = container.path().join("nowhere");
    assert_eq!(store.prepare(&nowhere, &[layer], PASSING).unwrap_err().kind(), Kind::NotFound);
    // The writable directory is made before this is noticed.
    std::fs::write(container.path().join("work"), b"not a directory").unwrap();
    store.prepare(container.path(), &[layer], PASSING).unwrap_err();
    assert!(is_clean(container.path()));
    store.remove_layer(&layer).unwrap();
}

fn what_a_container_wrote_is_never_let_go_of(store: &dyn Snapshotter) {
    let layer = unpack(store, 0o755, 14);
    let container = container();
    let mine = container.path().join("upper/mine");
    in_mount(store.mount(container.path(), &[layer], WRITABLE).unwrap(), |root| {
        std::fs::write(root.join("mine"), b"mine").unwrap();
    });
    let error = store.prepare(container.path(), &[layer], WRITABLE).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    store.prepare(container.path(), &[layer], READ_ONLY).unwrap();
    store.unmounted(container.path());
    assert!(mine.exists(), "what cannot be written has nothing in the directory");
    // Taken, it is the container's.
    let other = self::container();
    store.prepare(other.path(), &[layer], WRITABLE).unwrap();
    let mount = store.mount(other.path(), &[layer], WRITABLE).unwrap();
    in_mount(mount, |root| std::fs::write(root.join("mine"), b"mine").unwrap());
    store.unmounted(other.path());
    store.prepare(container.path(), &[layer], READ_ONLY).unwrap();
    store.remove_layer(&layer).unwrap();
    assert!(mine.exists() && other.path().join("upper/mine").exists());
    for container in [&container, &other] {
        store.remove_container(container.path()).unwrap();
        assert!(is_clean(container.path()));
    }
}
