// SPDX-License-Identifier: Apache-2.0
//! What a root that is mounted ahead holds of its file system, seen on one that nobody else uses.

use std::path::Path;

use errors::{Classify as _, Kind};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use snapshot::Snapshotter;

use super::support::Layer;
use super::{PASSING, WRITABLE, seen, unpack};

pub(super) fn conforms<S: Snapshotter>(open: impl Fn(&Path) -> S + Sync) {
    on_a_disk_of_its_own(|root| {
        std::fs::create_dir(root.join("container")).unwrap();
        gives_space_back(root, &open(root));
        what_could_not_be_removed_is_before_the_next_mount(root, &open(root));
        ends_with_the_snapshotter(root, open(root));
    });
}

/// Runs `work` with a new file system that is seen by nobody else, and that nothing may hold in the end.
fn on_a_disk_of_its_own(work: impl FnOnce(&Path) + Send) {
    let place = tempfile::tempdir().unwrap();
    let (file, root) = (place.path().join("disk"), place.path().join("root"));
    std::fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
    std::fs::create_dir(&root).unwrap();
    let (program, arguments) = ("mke2fs", ["-q", "-F"]);
    assert!(testkit::process::command(program).args(arguments).arg(&file).status().unwrap().success());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::namespace::unshare(sys::process::CloneFlags::NEWNS).expect("this test needs root");
            rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            let mut mount = testkit::process::command("mount");
            assert!(mount.args(["-t", "ext4", "-o", "loop"]).args([&file, &root]).status().unwrap().success());
            work(&root);
            rustix::mount::unmount(&root, UnmountFlags::empty()).expect("nothing holds it");
        });
        thread.join().unwrap();
    });
}

/// What a layer takes is free again when it was removed, while the rest of what was prepared with it stays.
fn gives_space_back(root: &Path, store: &dyn Snapshotter) {
    const SIZE: usize = 8 << 20;
    let free = || {
        let found = rustix::fs::statvfs(root).unwrap();
        found.f_bfree * found.f_frsize
    };
    let base = unpack(store, 0o755, 17);
    let dir = root.join("container");
    let before = free();
    let large = Layer::new().file("large", &vec![7; SIZE]).finish();
    store.unpack(&large.diff_id, &mut &large.tar[..]).unwrap();
    store.prepare(&dir, &[base, large.diff_id], PASSING).unwrap();
    assert!(before - free() >= SIZE as u64);
    store.remove_layer(&large.diff_id).unwrap();
    // A directory may have become longer.
    assert!(before - free() < 1 << 20, "{} bytes are still taken", before - free());
    store.remove_layer(&base).unwrap();
}

/// What waits goes with the snapshotter: the file system can be unmounted then.
fn ends_with_the_snapshotter(root: &Path, store: impl Snapshotter) {
    let layer = unpack(&store, 0o755, 18);
    store.prepare(&root.join("container"), &[layer], PASSING).unwrap();
    let held = rustix::mount::unmount(root, UnmountFlags::empty()).unwrap_err();
    assert_eq!(held, Errno::BUSY);
}

/// A new root never lies on what another one's left, even if it could not be removed at first.
fn what_could_not_be_removed_is_before_the_next_mount(root: &Path, store: &dyn Snapshotter) {
    let (old, new) = (unpack(store, 0o1777, 19), unpack(store, 0o755, 20));
    let dir = root.join("container");
    let upper = dir.join("upper");
    store.prepare(&dir, &[old], WRITABLE).unwrap();
    rustix::mount::mount("tmpfs", &upper, "tmpfs", MountFlags::empty(), None).unwrap();
    store.unmounted(&dir);
    for _ in 0..2 {
        let error = store.mount(&dir, &[new], WRITABLE).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict, "{error}");
        assert_eq!(store.prepare(&dir, &[new], WRITABLE).unwrap_err().kind(), Kind::Conflict);
    }
    rustix::mount::unmount(&upper, UnmountFlags::empty()).unwrap();
    assert_eq!(seen(store.mount(&dir, &[new], WRITABLE).unwrap()), ("20".to_owned(), 20, 0o755));
    // From now on it is the container's.
    assert_eq!(store.prepare(&dir, &[new], WRITABLE).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(seen(store.mount(&dir, &[new], WRITABLE).unwrap()), ("20".to_owned(), 20, 0o755));
    store.remove_container(&dir).unwrap();
    for layer in [old, new] {
        store.remove_layer(&layer).unwrap();
    }
}
