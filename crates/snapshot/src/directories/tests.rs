// SPDX-License-Identifier: Apache-2.0
//! What is particular to directories: leftovers, and the ways of older kernels. Needs root.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, reason = "the suites have more to ask")]
mod support;

use support::{Layer, in_mount, user_namespace};

fn layer(files: &[&str]) -> (Digest, Vec<u8>) {
    let Layer { diff_id, tar } = files.iter().fold(Layer::new(), |layer, file| layer.file(file, b"")).finish();
    (diff_id, tar)
}

/// Forty layers, each of one file.
fn forty(store: &Directories) -> Vec<Digest> {
    let one = |number| {
        let (diff_id, tar) = layer(&[&format!("{number:02}")]);
        store.unpack(&diff_id, &mut &tar[..]).unwrap();
        diff_id
    };
    (0..40).map(one).collect()
}

/// The names in a detached mount; `write` is made there first.
fn names(mount: OwnedFd, write: Option<&'static str>) -> Vec<String> {
    in_mount(mount, move |root| {
        if let Some(name) = write {
            std::fs::write(root.join(name), b"").unwrap();
        }
        support::names(root)
    })
}

#[test]
fn every_kernels_way_of_stacking_gives_the_same() {
    let root = tempfile::tempdir().unwrap();
    let store = Directories::open(root.path()).unwrap();
    let layers = forty(&store);
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for method in [Method::Descriptors, Method::Append, Method::Joined, Method::Classic] {
        for count in [0, 1, 5, 40] {
            for volatile in [false, true] {
                let container = tempfile::tempdir().unwrap();
                let options = MountOptions { volatile, ..MountOptions::default() };
                let mount = store
                    .mount_by(method, container.path(), &layers[..count], options, None)
                    .unwrap_or_else(|e| panic!("{method:?} {count}: {e}"));
                assert_eq!(names(mount, Some("new")).len(), count + 1, "{method:?} {count}");
                assert!(container.path().join("upper/new").exists());
            }
            let read_only = MountOptions { read_only: true, ..MountOptions::default() };
            let mount = store.mount_by(method, root.path(), &layers[..count], read_only, None).unwrap();
            assert_eq!(names(mount, None).len(), count, "{method:?} {count} read-only");
        }
    }
    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(before, after, "nothing was left in this process's mount table");
}

#[test]
fn every_kernels_way_of_stacking_shows_other_ids() {
    let root = tempfile::tempdir().unwrap();
    let store = Directories::open(root.path()).unwrap();
    let layers = forty(&store);
    let namespace = user_namespace(700_000);
    let ids = Ids { namespace: namespace.as_fd(), uid: 700_000, gid: 700_000 };
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for method in [Method::Descriptors, Method::Append, Method::Joined, Method::Classic] {
        for count in [0, 1, 5, 40] {
            let container = tempfile::tempdir().unwrap();
            let options = MountOptions::default();
            let mount = store
                .mount_by(method, container.path(), &layers[..count], options, Some(ids))
                .unwrap_or_else(|e| panic!("{method:?} {count}: {e}"));
            let root = rustix::fs::fstat(&mount).unwrap();
            assert_eq!((root.st_uid, root.st_gid), (700_000, 700_000), "{method:?} {count}");
            let make = || {
                let _acting = sys::file_ids::act_as(700_033, 700_000).unwrap();
                rustix::fs::mkdirat(&mount, "new", Mode::RWXU)
            };
            make().unwrap_or_else(|e| panic!("{method:?} {count}: {e}"));
            let made = container.path().join("upper/new").metadata().unwrap();
            assert_eq!((made.uid(), made.gid()), (33, 0), "{method:?} {count}");
            assert_eq!(names(mount, None).len(), count + 1, "{method:?} {count}");
            let read_only = MountOptions { read_only: true, ..MountOptions::default() };
            let mount = store.mount_by(method, container.path(), &layers[..count], read_only, Some(ids)).unwrap();
            assert_eq!(rustix::fs::fstat(&mount).unwrap().st_uid, 700_000, "{method:?} {count} read-only");
        }
    }
    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(before, after, "nothing was left in this process's mount table");
}

#[test]
fn what_the_probe_says_works_here() {
    let root = tempfile::tempdir().unwrap();
    let store = Directories::open(root.path()).unwrap();
    let status = store.describe().status;
    assert!(status.iter().any(|(name, value)| name == "Overlay" && value != "not possible"), "{status:?}");
}

#[test]
fn leftovers_are_removed_and_what_is_being_unpacked_is_not() {
    let root = tempfile::tempdir().unwrap();
    let store = Directories::open(root.path()).unwrap();
    let (diff_id, tar) = layer(&["a"]);
    store.unpack(&diff_id, &mut &tar[..]).unwrap();
    let left = root.path().join("layers/.tmp-1-1");
    std::fs::create_dir_all(left.join("diff/deep/er")).unwrap();
    let (alive, name) = store.store.temporary().unwrap();
    let again = Directories::open(root.path()).unwrap();
    assert!(!left.exists());
    assert!(root.path().join("layers").join(&name).exists());
    assert!(again.contains(&diff_id), "a whole layer is found again");
    assert_eq!(again.layer(&diff_id).unwrap(), store.layer(&diff_id).unwrap());
    drop(alive);
    Directories::open(root.path()).unwrap();
    assert!(!root.path().join("layers").join(&name).exists());
}

#[test]
fn a_layer_that_lost_its_description_is_unpacked_again() {
    let root = tempfile::tempdir().unwrap();
    let (diff_id, tar) = layer(&["a"]);
    let store = Directories::open(root.path()).unwrap();
    store.unpack(&diff_id, &mut &tar[..]).unwrap();
    let path = root.path().join("layers").join(diff_id.hex());
    for damage in ["", "{", "{\"size\":\"x\"}"] {
        std::fs::write(path.join("info.json"), damage).unwrap();
        let store = Directories::open(root.path()).unwrap();
        assert!(!store.contains(&diff_id));
        store.unpack(&diff_id, &mut &tar[..]).unwrap();
        assert!(path.join("diff/a").exists() && store.contains(&diff_id));
    }
}

#[test]
fn other_users_cannot_reach_the_layers() {
    let root = tempfile::tempdir().unwrap();
    Directories::open(root.path()).unwrap();
    let mode = root.path().join("layers").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_failed_unpack_leaves_nothing_in_the_store() {
    let root = tempfile::tempdir().unwrap();
    let store = Directories::open(root.path()).unwrap();
    let (diff_id, mut tar) = layer(&["a", "b"]);
    tar[600] ^= 1;
    assert!(store.unpack(&diff_id, &mut &tar[..]).is_err());
    let mut left: Vec<_> =
        std::fs::read_dir(root.path().join("layers")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".empty", ".mount-points"]);
}
