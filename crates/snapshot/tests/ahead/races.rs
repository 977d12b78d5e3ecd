// SPDX-License-Identifier: Apache-2.0
//! Threads that mount, mount ahead, and remove, all at once.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use errors::{Classify as _, Kind};
use snapshot::Snapshotter;

use super::support::{Layer, in_mount};
use super::{PASSING, container, is_clean, unpack};

/// Counts who has not ended yet, also by a panic.
struct Ends<'r>(&'r AtomicUsize);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Containers begin and end while others mount ahead in the same directories, and a layer comes and goes: each has the root
/// it asked for, new, and keeps what it wrote.
pub(super) fn threads_get_what_they_asked_for(store: &dyn Snapshotter) {
    const ROUNDS: usize = 60;
    let stacks = [(0o755, 15), (0o1770, 16)].map(|(mode, owner)| (unpack(store, mode, owner), owner, mode));
    let passing = Layer::new().file("passing", b"").finish();
    let containers = [(); 3].map(|()| container());
    let (containers, running) = (&containers, &AtomicUsize::new(containers.len()));
    std::thread::scope(|scope| {
        for (index, container) in containers.iter().enumerate() {
            let dir = container.path();
            scope.spawn(move || {
                let _ends = Ends(running);
                for round in 0..ROUNDS {
                    let (layer, owner, mode) = stacks[(round + index) / 2 % 2];
                    let mount = store.mount(dir, &[layer], PASSING).unwrap();
                    let wrote = in_mount(mount, move |root| {
                        let meta = root.metadata().unwrap();
                        assert_eq!((meta.uid(), meta.permissions().mode() & 0o7777), (owner, mode));
                        assert_eq!(std::fs::read_to_string(root.join("who")).unwrap(), owner.to_string());
                        assert!(!root.join("mine").exists(), "it is new");
                        std::fs::write(root.join("mine"), b"mine")
                    });
                    wrote.unwrap();
                    store.unmounted(dir);
                    assert_eq!(std::fs::read(dir.join("upper/mine")).unwrap(), b"mine");
                    store.remove_container(dir).unwrap();
                }
            });
        }
        for which in 0..2 {
            scope.spawn(move || {
                let mut number = which;
                while running.load(Ordering::Acquire) > 0 {
                    number += 1;
                    let dir = containers[number % 3].path();
                    let (layer, ..) = stacks[number / 3 % 2];
                    let both = [layer, passing.diff_id];
                    let layers = if number.is_multiple_of(5) { &both[..] } else { &both[..1] };
                    if let Err(error) = store.prepare(dir, layers, PASSING) {
                        assert!(matches!(error.kind(), Kind::Conflict | Kind::NotFound), "{error}");
                    }
                }
            });
        }
        let (diff_id, tar) = (passing.diff_id, &passing.tar);
        scope.spawn(move || {
            while running.load(Ordering::Acquire) > 0 {
                store.unpack(&diff_id, &mut &tar[..]).unwrap();
                assert!(store.remove_layer(&diff_id).unwrap());
            }
        });
    });
    for container in containers {
        store.remove_container(container.path()).unwrap();
        assert!(is_clean(container.path()));
    }
    for (layer, ..) in stacks {
        store.remove_layer(&layer).unwrap();
    }
}
