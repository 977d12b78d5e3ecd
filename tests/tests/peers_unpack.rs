// SPDX-License-Identifier: Apache-2.0
//! Unpacking is exact: what a container sees of an image is, file by file, what umoci unpacks of it. Types, modes, owners,
//! times to the nanosecond, sizes, content, attributes, targets, device numbers and which names are one file; of images
//! that Docker, buildah, umoci, these tests and Corten have made, and in both forms in which layers are kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use oci::Digest;
use serde_json::Value;
use snapshot::{Directories, MountOptions, Snapshotter, TarIndex};
use testkit::Daemon;
use testkit::fixtures::image::{Image, Layer};
use testkit::fixtures::registry::Registry;
use testkit::fixtures::{busybox, debian, made};
use testkit::process::command;
use testkit::tree::{Seen, dump};

fn document(layout: &Path, digest: &Value) -> Value {
    let text = std::fs::read(blob(layout, digest)).expect("a blob");
    serde_json::from_slice(&text).expect("JSON")
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs").join(digest.as_str().expect("a digest").replace(':', "/"))
}

/// Has a store unpack the image, and looks at its root.
fn seen_by(store: &dyn Snapshotter, layout: &Path) -> BTreeMap<PathBuf, Seen> {
    let index: Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).expect("a layout")).expect("JSON");
    let manifest = document(layout, &index["manifests"][0]["digest"]);
    let config = document(layout, &manifest["config"]["digest"]);
    let mut diff_ids = Vec::new();
    let layers = manifest["layers"].as_array().expect("a list").iter();
    for (layer, diff_id) in layers.zip(config["rootfs"]["diff_ids"].as_array().expect("a list")) {
        let diff_id: Digest = diff_id.as_str().expect("a diff ID").parse().expect("a digest");
        let path = blob(layout, &layer["digest"]);
        let mut first = [0; 4];
        File::open(&path).and_then(|mut file| file.read_exact(&mut first)).expect("a layer");
        let file = File::open(&path).expect("a layer");
        let mut tar = layer::decompress(file, layer::detect(&first)).expect("a layer");
        store.unpack(&diff_id, &mut tar).expect("an honest layer");
        diff_ids.push(diff_id);
    }
    let container = tempfile::tempdir().expect("a directory");
    let options = MountOptions { read_only: true, ..MountOptions::default() };
    let root = store.mount(container.path(), &diff_ids, options).expect("a mount");
    let seen = dump(Path::new(&format!("/proc/self/fd/{}", root.as_raw_fd())));
    drop(root);
    store.remove_container(container.path()).expect("nothing was written");
    seen
}

/// Compares what both forms show with what umoci unpacks. How many files there are.
fn compare(layout: &Path) -> usize {
    compare_with(layout, layout)
}

/// The same, umoci being given the image in another layout.
fn compare_with(layout: &Path, for_umoci: &Path) -> usize {
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is right");
    let begun = i64::try_from(begun.as_secs()).expect("not the far future") - 1;
    let scratch = tempfile::tempdir().expect("a directory");
    let bundle = scratch.path().join("bundle");
    let mut umoci = command("umoci");
    let output = umoci.args(["unpack", "--image"]).arg(format!("{}:latest", for_umoci.display())).arg(&bundle).output();
    let output = output.expect("umoci is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = dump(&bundle.join("rootfs"));
    let directories = Directories::open(&scratch_in(scratch.path(), "directories")).expect("a store");
    let archives =
        TarIndex::open(&scratch_in(scratch.path(), "archives")).expect("a kernel that mounts EROFS from files");
    for (form, store) in [("directories", &directories as &dyn Snapshotter), ("archives", &archives)] {
        let found = seen_by(store, layout);
        let mut wrong = Vec::new();
        for path in expected.keys().chain(found.keys().filter(|path| !expected.contains_key(*path))) {
            let (theirs, ours) = (expected.get(path), found.get(path).cloned());
            // What no layer describes has no time of its own: it was made while it was unpacked, and umoci gives the root
            // the epoch then.
            let is_root = path.as_os_str().is_empty();
            let undescribed = theirs.filter(|seen| seen.what == "directory");
            let undescribed = undescribed.filter(|seen| seen.mtime.0 >= begun || is_root && seen.mtime == (0, 0));
            let ours = ours.map(|ours| Seen { mtime: undescribed.map_or(ours.mtime, |seen| seen.mtime), ..ours });
            if theirs != ours.as_ref() {
                wrong.push(format!("{}\n  umoci:  {theirs:?}\n  corten: {ours:?}", path.display()));
            }
        }
        assert!(wrong.is_empty(), "{form}: {} files differ\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
    }
    expected.len()
}

fn scratch_in(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::create_dir(&path).expect("a directory");
    path
}

#[test]
fn an_image_of_zstd_chunked_layers() {
    let chunked = made::chunked();
    let blobs = std::fs::read_dir(chunked.join("blobs/sha256")).expect("a layout");
    let largest = blobs
        .map(|entry| entry.expect("an entry").path())
        .max_by_key(|path| std::fs::metadata(path).map_or(0, |meta| meta.len()));
    let largest = std::fs::read(largest.expect("a layer")).expect("a layer");
    assert!(largest.ends_with(b"GnUlInUx"), "no footer of zstd:chunked, which is what this is about");
    // umoci reads no zstd.
    assert!(compare_with(&chunked, &made::by_umoci()) > 200);

    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let name = registry.push(&chunked, "chunked");
    daemon.ok(&["pull", "-q", &name]);
    assert_eq!(daemon.ok(&["run", "--rm", &name, "cat", "/srv/many/first"]), "content");
    assert!(daemon.ok(&["system", "check"]).contains("nothing is broken"), "verified, blobs and layers");
}

#[test]
fn what_docker_commits() {
    assert!(compare(&made::by_docker()) > 3000);
}

#[test]
fn what_buildah_commits() {
    // Below it are Debian and three layers with whiteouts and an opaque directory.
    assert!(compare(&made::by_buildah()) > 5000);
}

#[test]
fn what_umoci_repacks() {
    assert!(compare(&made::by_umoci()) > 200);
}

#[test]
fn the_embedded_image_and_what_corten_commits() {
    let daemon = Daemon::with_busybox();
    let script = "mv /etc /was; mkdir -m 2711 /etc; echo 1 > /etc/one; ln /etc/one /etc/two; mkfifo /pipe; rm /bin/cat";
    daemon.ok(&["run", "--name", "changed", "busybox", "sh", "-c", script]);
    daemon.ok(&["commit", "changed", "changed:1"]);
    daemon.ok(&["rm", "changed"]);
    for (name, files) in [("corten/hello", 5), ("changed:1", 10)] {
        let archive = daemon.path().join("saved.tar");
        daemon.ok(&["save", "-o", &archive.to_string_lossy(), name]);
        // umoci asks by tag.
        let tagged = daemon.path().join("tagged");
        let (from, to) = (format!("oci-archive:{}", archive.display()), format!("oci:{}:latest", tagged.display()));
        let copied = command("skopeo").args(["copy", "-q", &from, &to]).status().expect("skopeo");
        assert!(copied.success());
        assert!(compare(&tagged) > files, "{name}");
        std::fs::remove_dir_all(&tagged).expect("our own");
    }
}

#[test]
fn directories_that_layers_do_not_describe() {
    let scratch = tempfile::tempdir().expect("a directory");
    let layout = scratch.path().join("layout");
    let below = Layer::default().directory("srv").directory("srv/full").file("srv/full/old", "old").directory("kept");
    let above = Layer::default().file("tmp/x", "x").file("srv/full/new/file", "y").file("etc/only/here", "z");
    let last = Layer::default().file("srv/full/.wh..wh..opq", "").file("srv/full/last", "l").file(".wh.kept", "");
    let last = last.file("kept/again", "");
    let image = Image::default().layer(busybox::bytes(), debian::Form::Gzip);
    let image =
        [below, above, last].into_iter().fold(image, |image, layer| image.layer(layer.tar(), debian::Form::Plain));
    image.write(&layout);
    assert!(compare(&layout) > 10);
}
