// SPDX-License-Identifier: Apache-2.0
//! How layers are kept: what `info` says, what a killed daemon leaves, and mounts that go with their containers. Needs a
//! kernel that mounts EROFS from files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use testkit::Daemon;

const FORMS: [&str; 2] = ["directories", "tar-index"];

/// The kernel tells all mounts of the machine, not whose they are: one test at a time.
static MACHINE: Mutex<()> = Mutex::new(());

fn machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn daemon(snapshotter: &str) -> Daemon {
    Daemon::builder().argument("--snapshotter").argument(snapshotter).start()
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The names in the daemon's directory of layers.
fn layers(daemon: &Daemon) -> Vec<String> {
    let entries = fs::read_dir(daemon.path().join("data/layers")).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn info_says_how_layers_are_kept() {
    let _machine = machine();
    let automatic = Daemon::with_busybox();
    assert_eq!(automatic.ok(&["info", "--format", "{{.Driver}}"]).trim(), "tar-index");
    assert!(automatic.ok(&["info"]).contains("Archives: 1 of 1 layers"));
    let chosen = daemon("directories");
    chosen.import_busybox();
    assert_eq!(chosen.ok(&["info", "--format", "{{.Driver}}"]).trim(), "directories");
    for (daemon, part) in [(&automatic, "layer.tar"), (&chosen, "diff")] {
        let layer = layers(daemon).pop().expect("a layer");
        assert!(daemon.path().join("data/layers").join(layer).join(part).exists(), "{part}");
        assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "it runs"]), "it runs");
    }
}

#[test]
fn a_daemon_killed_while_a_layer_comes_leaves_nothing_of_it() {
    let _machine = machine();
    for form in FORMS {
        let daemon = daemon(form);
        let tar = large_archive(daemon.path());
        let import = daemon.spawn(&["import", &tar.to_string_lossy(), "large"]);
        eventually("the layer begins to come", || {
            let begun = layers(&daemon).into_iter().find(|name| name.starts_with(".tmp-"));
            let path = begun.map(|name| daemon.path().join("data/layers").join(name));
            path.is_some_and(|path| size(&path) > 1 << 20)
        });
        daemon.kill();
        assert!(import.wait().code != 0, "{form}");
        assert!(!layers(&daemon).iter().any(|name| name.len() == 64), "{form}: half a layer is visible");
        daemon.start();
        assert_eq!(layers(&daemon), [".empty", ".mount-points"], "{form}");
        daemon.ok(&["import", &tar.to_string_lossy(), "large"]);
        assert_eq!(layers(&daemon).len(), 3, "{form}");
    }
}

/// An archive of many files, large enough to be interrupted.
fn large_archive(directory: &Path) -> PathBuf {
    let (files, archive) = (directory.join("files"), directory.join("large.tar"));
    fs::create_dir(&files).expect("a directory");
    for i in 0..200u8 {
        fs::write(files.join(format!("{i}")), vec![i; 1 << 20]).expect("a file");
    }
    let mut tar = testkit::process::command("tar");
    let status = tar.arg("-c").arg("-C").arg(&files).arg("-f").arg(&archive).arg(".").status();
    assert!(status.expect("GNU tar").success());
    archive
}

fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
        }
        Ok(meta) => meta.len(),
        Err(_) => 0,
    }
}

/// EROFS mounts of the whole machine, attached or not.
fn mounts() -> usize {
    let entries = fs::read_dir("/sys/fs/erofs").expect("a kernel with EROFS").flatten();
    entries.filter(|entry| entry.file_name() != "features").count()
}

#[test]
fn a_layer_is_mounted_once_for_all_containers_and_then_for_the_next() {
    let _machine = machine();
    let daemon = daemon("tar-index");
    daemon.import_busybox();
    let before = mounts();
    for name in ["one", "two"] {
        daemon.ok(&["run", "-d", "--name", name, "busybox", "sleep", "100"]);
    }
    assert_eq!(mounts(), before + 1, "one for both");
    daemon.ok(&["rm", "-f", "one"]);
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.ok(&["exec", "two", "echo", "still"]), "still");
    assert_eq!(mounts(), before + 1);
    daemon.ok(&["run", "-d", "--name", "three", "busybox", "sleep", "100"]);
    for name in ["two", "three"] {
        daemon.ok(&["kill", name]);
    }
    eventually("only the mount that this daemon made waits for the next", || mounts() == before + 1);
    daemon.fails(&["run", "--name", "four", "busybox", "/no/such/command"], 127);
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    assert_eq!(mounts(), before + 1, "the next had it");
    daemon.ok(&["rm", "two", "three", "four"]);
    daemon.ok(&["rmi", "busybox"]);
    eventually("the layer is gone, and its mount with it", || mounts() == before);
    daemon.import_busybox();
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    daemon.stop();
    eventually("nothing is left when the daemon is gone", || mounts() == before);
}
