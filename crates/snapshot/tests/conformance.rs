// SPDX-License-Identifier: Apache-2.0
//! What any [`Snapshotter`] owes, as one suite, and every implementation running it. Needs root.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Read;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use errors::{Classify as _, Kind};
use oci::Digest;
use snapshot::{Directories, Ids, MountOptions, Snapshotter, TarIndex};
use support::{Layer, in_mount, names, user_namespace};

#[test]
fn directories_conform() {
    let root = tempfile::tempdir().unwrap();
    conforms(&Directories::open(root.path()).unwrap());
    assert_eq!(left(root.path()), [".empty", ".mount-points"]);
}

#[test]
fn the_tar_index_conforms() {
    let root = tempfile::tempdir().unwrap();
    conforms(&TarIndex::open(root.path()).expect("this test needs a kernel that mounts EROFS from files"));
    assert_eq!(left(root.path()), [".empty", ".mount-points"]);
}

/// The suite. `store` is empty, and is empty again afterwards.
fn conforms(store: &dyn Snapshotter) {
    layers_come_whole_or_not_at_all(store);
    layers_are_unpacked_once_by_concurrent_callers(store);
    a_container_sees_its_layers_and_writes_to_its_own_directory(store);
    whiteouts_and_opaque_directories_hide_what_is_below(store);
    mount_points_lie_below_all_layers(store);
    odd_stacks_can_be_mounted(store);
    what_a_container_wrote_is_kept_until_it_is_removed(store);
    the_root_directory_is_the_top_layers(store);
    changes_and_sizes_are_told(store);
    directories_that_a_layer_does_not_describe_are_as_below(store);
    other_ids_are_the_mounts_and_not_the_disks(store);
    for (diff_id, _) in store.layers().unwrap() {
        assert!(store.remove_layer(&diff_id).unwrap());
    }
    assert!(store.layers().unwrap().is_empty());
}

/// The names in the directory of layers.
fn left(root: &Path) -> Vec<String> {
    names(&root.join("layers"))
}

fn unpack(store: &dyn Snapshotter, layer: &Layer) -> Digest {
    store.unpack(&layer.diff_id, &mut &layer.tar[..]).unwrap();
    layer.diff_id
}

fn mounted<T: Send + 'static>(
    store: &dyn Snapshotter,
    container: &Path,
    layers: &[Digest],
    options: MountOptions,
    look: impl FnOnce(&Path) -> T + Send + 'static,
) -> T {
    in_mount(store.mount(container, layers, options).unwrap(), look)
}

fn layers_come_whole_or_not_at_all(store: &dyn Snapshotter) {
    let layer = Layer::new().file("a", b"content").finish();
    assert!(!store.contains(&layer.diff_id));
    assert_eq!(store.layer(&layer.diff_id).unwrap_err().kind(), Kind::NotFound);

    let other = Layer::new().file("a", b"other").finish();
    let error = store.unpack(&layer.diff_id, &mut &other.tar[..]).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "another layer's archive: {error}");
    let error = store.unpack(&layer.diff_id, &mut &layer.tar[..700]).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "half an archive: {error}");
    struct Unreachable;
    impl Read for Unreachable {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let mut broken = layer.tar[..600].chain(Unreachable);
    assert_eq!(store.unpack(&layer.diff_id, &mut broken).unwrap_err().kind(), Kind::Unavailable);
    assert!(!store.contains(&layer.diff_id));
    assert!(store.layers().unwrap().is_empty());

    let info = store.unpack(&layer.diff_id, &mut &layer.tar[..]).unwrap();
    assert_eq!((info.size, info.archive_size), (7, layer.tar.len() as u64));
    assert!(store.contains(&layer.diff_id));
    assert_eq!(store.unpack(&layer.diff_id, &mut Unreachable).unwrap(), info, "known already: not read");
    assert_eq!(store.layers().unwrap(), [(layer.diff_id, info)]);
    assert!(store.remove_layer(&layer.diff_id).unwrap());
    assert!(!store.remove_layer(&layer.diff_id).unwrap());
    assert!(!store.contains(&layer.diff_id));
}

fn layers_are_unpacked_once_by_concurrent_callers(store: &dyn Snapshotter) {
    use std::sync::atomic::{AtomicU32, Ordering};
    struct Counted<'a>(&'a [u8], &'a AtomicU32);
    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1.fetch_add(u32::try_from(read).unwrap(), Ordering::Relaxed);
            Ok(read)
        }
    }
    let layer = Layer::new().file("shared", &[7; 300_000]).finish();
    let read = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| store.unpack(&layer.diff_id, &mut Counted(&layer.tar, &read)).unwrap());
        }
    });
    assert_eq!(read.load(Ordering::Relaxed) as usize, layer.tar.len());
    store.remove_layer(&layer.diff_id).unwrap();
}

fn a_container_sees_its_layers_and_writes_to_its_own_directory(store: &dyn Snapshotter) {
    let below =
        unpack(store, &Layer::new().directory("etc", 0o750).file("etc/a", b"below").file("etc/b", b"b").finish());
    let above = unpack(store, &Layer::new().directory("etc", 0o755).file("etc/a", b"above").finish());
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let look = |root: &Path| {
        assert_eq!(std::fs::read(root.join("etc/a")).unwrap(), b"above");
        assert_eq!(std::fs::read(root.join("etc/b")).unwrap(), b"b");
        std::fs::write(root.join("etc/a"), b"mine").unwrap();
        std::fs::write(root.join("new"), b"new").unwrap();
        std::fs::remove_file(root.join("etc/b")).unwrap();
        assert_eq!(std::fs::read(root.join("etc/a")).unwrap(), b"mine");
    };
    for container in [&one, &two] {
        mounted(store, container.path(), &[below, above], MountOptions::default(), look);
    }
    mounted(store, one.path(), &[below, above], MountOptions { read_only: true, ..Default::default() }, |root| {
        assert_eq!(std::fs::read(root.join("etc/a")).unwrap(), b"above", "the layer is as it was");
        let error = std::fs::write(root.join("x"), b"").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    });
}

fn whiteouts_and_opaque_directories_hide_what_is_below(store: &dyn Snapshotter) {
    let below =
        Layer::new().file("gone", b"").file("d/hidden", b"").file("d/kept", b"old").file("whole/x", b"").finish();
    let below = unpack(store, &below);
    let above = Layer::new()
        .file(".wh.gone", b"")
        .file("d/kept", b"new")
        .file("d/.wh..wh..opq", b"")
        .file(".wh.whole", b"")
        .file("whole/y", b"")
        .finish();
    let above = unpack(store, &above);
    let root_opaque = unpack(store, &Layer::new().file(".wh..wh..opq", b"").file("alone", b"").finish());
    let container = tempfile::tempdir().unwrap();
    mounted(store, container.path(), &[below, above], MountOptions::default(), |root| {
        assert_eq!(names(root), ["d", "whole"]);
        assert_eq!(names(&root.join("d")), ["kept"]);
        assert_eq!(std::fs::read(root.join("d/kept")).unwrap(), b"new");
        assert_eq!(names(&root.join("whole")), ["y"]);
    });
    let container = tempfile::tempdir().unwrap();
    let found = mounted(store, container.path(), &[below, above, root_opaque], MountOptions::default(), names);
    assert_eq!(found, ["alone"]);
}

/// Whether they are there depends on the kernel; that nothing is written for them, and that they hide nothing, does not.
fn mount_points_lie_below_all_layers(store: &dyn Snapshotter) {
    let below = unpack(store, &Layer::new().directory("etc", 0o750).file("etc/hosts", b"the image's").finish());
    let above = unpack(store, &Layer::new().file("proc", b"not a directory").file("etc/.wh.hostname", b"").finish());
    let points = MountOptions { mount_points: true, ..Default::default() };
    let plain = tempfile::tempdir().unwrap();
    let has_points = mounted(store, plain.path(), &[], points, |root| {
        let found = names(root);
        assert!(found.is_empty() || found == ["dev", "etc", "proc", "sys"], "{found:?}");
        !found.is_empty()
    });
    let container = tempfile::tempdir().unwrap();
    let upper = container.path().join("upper");
    mounted(store, container.path(), &[below, above], points, move |root| {
        assert_eq!(std::fs::read(root.join("etc/hosts")).unwrap(), b"the image's");
        assert_eq!(std::fs::read(root.join("proc")).unwrap(), b"not a directory");
        assert_eq!(root.join("etc").metadata().unwrap().permissions().mode() & 0o7777, 0o750);
        assert!(!root.join("etc/hostname").exists(), "it was removed");
        let empty = root.join("etc/resolv.conf");
        assert_eq!(empty.metadata().map(|metadata| metadata.len()).ok(), has_points.then_some(0));
        assert_eq!(names(&upper), [""; 0], "nothing is written for them");
    });
    mounted(store, container.path(), &[below, above], MountOptions { read_only: true, ..points }, |root| {
        assert_eq!(names(root), ["etc", "proc"], "these are the layers alone");
    });
}

fn odd_stacks_can_be_mounted(store: &dyn Snapshotter) {
    let read_only = MountOptions { read_only: true, ..Default::default() };
    let a = unpack(store, &Layer::new().file("f", b"a").file("only-a", b"").finish());
    let b = unpack(store, &Layer::new().file("f", b"b").file(".wh.only-a", b"").finish());
    let empty = unpack(store, &Layer::new().finish());
    for (layers, options, expected) in [
        (vec![], MountOptions::default(), vec![]),
        (vec![], read_only, vec![]),
        (vec![empty], MountOptions::default(), vec![]),
        (vec![a], read_only, vec!["f", "only-a"]),
        (vec![a, empty, b, empty], MountOptions::default(), vec!["f"]),
        // The same layer once more on top counts there.
        (vec![a, b, a], MountOptions::default(), vec!["f", "only-a"]),
        (vec![a, b, a], read_only, vec!["f", "only-a"]),
    ] {
        let container = tempfile::tempdir().unwrap();
        let found = mounted(store, container.path(), &layers, options, names);
        assert_eq!(found, expected, "{layers:?} {options:?}");
    }
    // More layers than the kernel takes in one option.
    let many: Vec<Digest> =
        (0..70).map(|i| unpack(store, &Layer::new().file(&format!("{i:02}"), b"").finish())).collect();
    let container = tempfile::tempdir().unwrap();
    let found = mounted(store, container.path(), &many, MountOptions::default(), names);
    assert_eq!(found.len(), 70);
    let missing = Digest::of(b"missing");
    let error = store.mount(container.path(), &[a, missing], MountOptions::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains(&missing.to_string()));
}

fn what_a_container_wrote_is_kept_until_it_is_removed(store: &dyn Snapshotter) {
    let layer = unpack(store, &Layer::new().file("etc/a", b"below").finish());
    let container = tempfile::tempdir().unwrap();
    std::fs::write(container.path().join("config.json"), b"the engine's").unwrap();
    let volatile = MountOptions { volatile: true, ..Default::default() };
    mounted(store, container.path(), &[layer], volatile, |root| {
        let mut deep = root.join("deep");
        std::fs::create_dir(&deep).unwrap();
        for _ in 0..100 {
            deep.push("d".repeat(20));
            std::fs::create_dir(&deep).unwrap();
            std::fs::write(deep.join("f"), b"").unwrap();
        }
        std::fs::remove_dir_all(root.join("etc")).unwrap();
        std::fs::create_dir(root.join("etc")).unwrap();
    });
    mounted(store, container.path(), &[layer], volatile, |root| {
        assert!(root.join("deep").exists(), "a volatile container starts again");
        assert_eq!(names(&root.join("etc")), [""; 0]);
    });
    store.remove_container(container.path()).unwrap();
    assert_eq!(names(container.path()), ["config.json"]);
    store.remove_container(container.path()).unwrap();
    mounted(store, container.path(), &[layer], MountOptions::default(), |root| {
        assert_eq!(names(root), ["etc"], "begun anew");
    });
}

fn changes_and_sizes_are_told(store: &dyn Snapshotter) {
    use std::os::fd::AsRawFd as _;
    let content = vec![7; 300_000];
    let layer = unpack(store, &Layer::new().file("etc/large", &content).finish());
    let taken = store.disk_usage(&layer).unwrap();
    assert!((300_000..400_000).contains(&taken), "{taken}");
    let absent = Digest::of("no such layer");
    assert_eq!(store.disk_usage(&absent).unwrap_err().kind(), Kind::NotFound);
    let container = tempfile::tempdir().unwrap();
    assert!(store.changes(container.path()).unwrap().is_none(), "nothing was mounted yet");
    mounted(store, container.path(), &[layer], MountOptions::default(), |root| {
        std::fs::write(root.join("new"), b"n").unwrap();
    });
    let changes = store.changes(container.path()).unwrap().unwrap();
    assert_eq!(names(Path::new(&format!("/proc/self/fd/{}", changes.as_raw_fd()))), ["new"]);
    store.remove_container(container.path()).unwrap();
    assert!(store.changes(container.path()).unwrap().is_none());
}

fn the_root_directory_is_the_top_layers(store: &dyn Snapshotter) {
    use std::os::unix::fs::MetadataExt as _;
    let below = unpack(store, &Layer::new().directory("./", 0o711).finish());
    let above = unpack(store, &Layer::new().owned_directory("./", 0o1775, 12, 34).finish());
    let container = tempfile::tempdir().unwrap();
    mounted(store, container.path(), &[below, above], MountOptions::default(), |root| {
        let meta = root.metadata().unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o1775, 12, 34));
        assert_eq!(meta.mtime(), support::MTIME.cast_signed());
    });
}

/// Mode, owner, group, and time of the last change.
fn attributes(path: &Path) -> (u32, u32, u32, i64) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime())
}

fn directories_that_a_layer_does_not_describe_are_as_below(store: &dyn Snapshotter) {
    let then = i64::try_from(support::MTIME).unwrap();
    let below = Layer::new().owned_directory("./", 0o711, 1, 2).owned_directory("tmp", 0o1777, 3, 4);
    let below =
        below.owned_directory("srv", 0o2750, 5, 6).owned_directory("srv/deep", 0o700, 7, 8).file("srv/deep/a", b"");
    let below = below.owned_directory("gone", 0o700, 9, 9).owned_directory("replaced", 0o700, 9, 9);
    let below = unpack(store, &below.file("replaced/old", b"").file("file", b"").finish());
    let other = unpack(store, &Layer::new().owned_directory("tmp", 0o733, 10, 11).finish());
    let above = Layer::new().file("tmp/x", b"").file("srv/deep/er/b", b"").file("new/c", b"");
    let above =
        above.file(".wh.gone", b"").file("gone/d", b"").file("replaced/.wh..wh..opq", b"").file("replaced/e", b"");
    let above = unpack(store, &above.file("file/f", b"").finish());
    let last = unpack(store, &Layer::new().owned_directory("srv", 0o755, 12, 12).file("srv/deep/g", b"").finish());

    let expected_of = move |root: &Path, expected: &[(&str, (u32, u32, u32))]| {
        for (path, (mode, uid, gid)) in expected {
            assert_eq!(attributes(&root.join(path)), (*mode, *uid, *gid, then), "{path}");
        }
    };
    for options in [MountOptions::default(), MountOptions { read_only: true, ..MountOptions::default() }] {
        let (container, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for _ in 0..2 {
            mounted(store, container.path(), &[below, above], options, move |root| {
                let srv = [("", (0o711, 1, 2)), ("srv", (0o2750, 5, 6)), ("srv/deep", (0o700, 7, 8))];
                expected_of(root, &[&srv[..], &[("tmp", (0o1777, 3, 4)), ("replaced", (0o700, 9, 9))]].concat());
                for made in ["srv/deep/er", "new", "gone", "file"] {
                    let (mode, uid, _, _) = attributes(&root.join(made));
                    assert_eq!((mode & 0o777, uid), (0o755, 0), "{made}: nothing below says what it is");
                }
                assert_eq!(names(&root.join("srv/deep")), ["a", "er"]);
                assert_eq!(names(&root.join("replaced")), ["e"]);
                assert_eq!(names(&root.join("gone")), ["d"]);
            });
        }
        // The same layer over another.
        mounted(store, again.path(), &[below, other, above, last], options, move |root| {
            let srv = [("srv", (0o755, 12, 12)), ("srv/deep", (0o700, 7, 8)), ("tmp", (0o733, 10, 11))];
            expected_of(root, &srv);
            assert_eq!(names(&root.join("srv/deep")), ["a", "er", "g"]);
        });
        store.remove_container(container.path()).unwrap();
        store.remove_container(again.path()).unwrap();
    }
    // By itself, it has nothing to inherit.
    let alone = tempfile::tempdir().unwrap();
    mounted(store, alone.path(), &[above], MountOptions::default(), |root| {
        assert_eq!(attributes(&root.join("tmp")).0, 0o755);
    });
    store.remove_container(alone.path()).unwrap();
}

fn other_ids_are_the_mounts_and_not_the_disks(store: &dyn Snapshotter) {
    let layer = unpack(store, &Layer::new().owned_directory("theirs", 0o755, 33, 34).file("f", b"x").finish());
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let owner = |root: &Path, name: &str| {
        let metadata = root.join(name).metadata().unwrap();
        (metadata.uid(), metadata.gid())
    };
    for (container, first) in [(&one, 500_000), (&two, 600_000)] {
        let namespace = user_namespace(first);
        let ids = Ids { namespace: namespace.as_fd(), uid: first, gid: first };
        let mount = store.mount_mapped(container.path(), &[layer], MountOptions::default(), ids).unwrap();
        in_mount(mount, move |root| {
            assert_eq!((owner(root, "f"), owner(root, "theirs")), ((first, first), (first + 33, first + 34)));
            assert!(std::fs::write(root.join("new"), b"").is_err(), "the host's root is nobody there");
            let _acting = sys::file_ids::act_as(first + 1, first + 2).unwrap();
            std::fs::write(root.join("new"), b"new").unwrap();
            std::fs::remove_file(root.join("f")).unwrap();
        });
        store.unmounted(container.path());
    }
    for container in [&one, &two] {
        mounted(store, container.path(), &[layer], MountOptions::default(), move |root| {
            assert_eq!((owner(root, "new"), owner(root, "theirs")), ((1, 2), (33, 34)));
            assert!(!root.join("f").exists());
        });
        store.remove_container(container.path()).unwrap();
    }
}
