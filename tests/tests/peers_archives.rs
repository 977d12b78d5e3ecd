// SPDX-License-Identifier: Apache-2.0
//! Archives of images between programs: what Corten saves is read by dockerd, skopeo and umoci, and what those write is
//! loaded and runs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::docker::Docker;
use testkit::fixtures::debian::Form;
use testkit::fixtures::image::{Image, Layer};

/// Busybox, and on it a layer with a word, a whiteout and a directory that hides what was below.
fn layout(directory: &Path) -> PathBuf {
    let layout = directory.join("layout");
    let below = Layer::default().directory("srv").file("srv/old", "old").file("gone", "x");
    let above = Layer::default().file("word", "of corten").without("gone").opaque("srv").file("srv/new", "new");
    Image::default()
        .layer(testkit::fixtures::busybox::bytes(), Form::Gzip)
        .layer(below.tar(), Form::Plain)
        .layer(above.tar(), Form::Gzip)
        .config(json!({"Cmd": ["sh", "-c", "cat /word; ls /srv; ls /gone 2>&1 | grep -c 'No such'"]}))
        .write(&layout);
    layout
}

/// What its command prints.
const SAYS: &str = "of cortennew\n1";

/// The directory as a tar archive.
fn packed(directory: &Path) -> PathBuf {
    let path = directory.with_extension("tar");
    run("tar", &["-C", &directory.to_string_lossy(), "-cf", &path.to_string_lossy(), "."]);
    path
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = testkit::process::command(program).args(arguments).output().expect("it is installed");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A daemon with the image `small:1`, loaded from an archive of its layout, and its id.
fn daemon() -> (Daemon, String) {
    let daemon = Daemon::builder().start();
    let archive = packed(&layout(daemon.path()));
    let said = daemon.ok(&["load", "-q", "-i", &archive.to_string_lossy()]);
    let id = said.strip_prefix("Loaded image ID: ").unwrap_or_else(|| panic!("{said}")).to_owned();
    daemon.ok(&["tag", &id, "small:1"]);
    (daemon, id)
}

#[test]
fn docker_loads_what_corten_saves_and_the_other_way_round() {
    let (daemon, id) = daemon();
    daemon.ok(&["tag", "small:1", "127.0.0.1:5000/other/small:2"]);
    let archive = daemon.path().join("saved.tar");
    daemon.ok(&["save", "-o", &archive.to_string_lossy(), "small:1", "127.0.0.1:5000/other/small:2"]);
    let docker = Docker::start().expect("dockerd runs");
    let said = docker.run(&["load", "-i", &archive.to_string_lossy()]).expect("docker loads it");
    assert!(said.contains("small:1") && said.contains("127.0.0.1:5000/other/small:2"), "{said}");
    assert_eq!(docker.run(&["image", "inspect", "-f", "{{.Id}}", "small:1"]).unwrap(), id);
    assert_eq!(docker.run(&["run", "--rm", "--network", "none", "small:1"]).unwrap(), SAYS);

    docker
        .run(&["run", "--network", "none", "--name", "changed", "small:1", "sh", "-c", "echo more > /more; rm /word"])
        .unwrap();
    docker
        .run(&[
            "commit",
            "-c",
            "CMD [\"sh\", \"-c\", \"cat /more; ls /word 2>&1 | grep -c such\"]",
            "changed",
            "more:1",
        ])
        .unwrap();
    let back = daemon.path().join("docker.tar");
    docker.run(&["save", "-o", &back.to_string_lossy(), "more:1", "small:1"]).unwrap();
    daemon.ok(&["rmi", "small:1", "127.0.0.1:5000/other/small:2"]);
    assert_eq!(daemon.ok(&["images", "-q"]), "");
    let said = daemon.ok(&["image", "load", "--input", &back.to_string_lossy()]);
    let mut names: Vec<&str> = said.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["Loaded image: more:1", "Loaded image: small:1"]);
    assert_eq!(daemon.ok(&["run", "--rm", "more:1"]), "more\n1");
    assert_eq!(daemon.ok(&["run", "--rm", "small:1"]), SAYS);
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc", "small:1"]), id);
    let gzip = daemon.path().join("docker.tar.gz");
    run("sh", &["-c", &format!("gzip -c {} > {}", back.display(), gzip.display())]);
    daemon.ok(&["rmi", "more:1"]);
    let input = fs::read(&gzip).unwrap();
    daemon.spawn_with(&["load"], &input, &[]).wait().ok();
    assert_eq!(daemon.ok(&["run", "--rm", "more:1"]), "more\n1");
}

#[test]
fn skopeo_copies_what_corten_saves_and_the_other_way_round() {
    let (daemon, id) = daemon();
    let at = |name: &str| daemon.path().join(name).to_string_lossy().into_owned();
    daemon.ok(&["save", "--output", &at("saved.tar"), "small:1"]);
    let manifest = daemon.inspect("small:1")["Descriptor"]["digest"].as_str().unwrap().to_owned();
    run("skopeo", &["copy", "--quiet", &format!("oci-archive:{}:1", at("saved.tar")), &format!("dir:{}", at("oci"))]);
    let copied = fs::read(daemon.path().join("oci/manifest.json")).unwrap();
    assert_eq!(testkit::fixtures::image::digest(&copied), manifest, "the manifest is the one that was loaded");
    let source = format!("docker-archive:{}:small:1", at("saved.tar"));
    run("skopeo", &["copy", "--quiet", &source, &format!("dir:{}", at("docker"))]);
    let copied: Value = serde_json::from_slice(&fs::read(daemon.path().join("docker/manifest.json")).unwrap()).unwrap();
    assert_eq!(copied["config"]["digest"], id);

    let layout = format!("oci:{}:latest", at("layout"));
    for (kind, name) in [("docker-archive", "their:1"), ("oci-archive", "their:2")] {
        let file = at(&name.replace(':', "-"));
        run("skopeo", &["copy", "--quiet", &layout, &format!("{kind}:{file}:{name}")]);
        assert_eq!(daemon.ok(&["load", "-i", &file]), format!("Loaded image: {name}"));
        assert_eq!(daemon.ok(&["run", "--rm", name]), SAYS, "{kind}");
        assert_eq!(daemon.ok(&["images", "-q", "--no-trunc", name]), id, "{kind}");
    }
}

#[test]
fn umoci_unpacks_what_corten_saves_and_the_other_way_round() {
    let (daemon, _) = daemon();
    let layout = daemon.path().join("saved");
    fs::create_dir(&layout).unwrap();
    // Through a pipe, as it comes.
    let corten = format!("{} -H {} save small", testkit::corten::binary().display(), daemon.host());
    run("sh", &["-c", &format!("{corten} | tar -x -C {}", layout.display())]);
    let image = |tag: &str| format!("{}:{tag}", layout.display());
    let bundle = daemon.path().join("bundle");
    run("umoci", &["unpack", "--image", &image("1"), &bundle.to_string_lossy()]);
    assert_eq!(fs::read_to_string(bundle.join("rootfs/word")).unwrap(), "of corten");
    assert!(!bundle.join("rootfs/gone").exists() && !bundle.join("rootfs/srv/old").exists());
    fs::write(bundle.join("rootfs/word"), "of umoci").unwrap();
    run("umoci", &["repack", "--image", &image("2"), &bundle.to_string_lossy()]);
    run("umoci", &["rm", "--image", &image("1")]);
    // umoci knows nothing of the older form, which still tells of the image before.
    fs::remove_file(layout.join("manifest.json")).unwrap();
    let said = daemon.ok(&["load", "-i", &packed(&layout).to_string_lossy()]);
    let changed = said.lines().last().and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    assert_eq!(daemon.ok(&["run", "--rm", changed]), "of umocinew\n1");
}

/// Every file below `root` (whose own time no layer need tell), by name: type, mode, owner, size, time, links, and what it holds.
fn tree(root: &Path) -> String {
    let list = "cd $0 && find . -mindepth 1 -printf '%p %y %m %U:%G %s %T@ %n %l\n' | sed -E '/ d /s/ [0-9]+ ([0-9.]+) [0-9]+ $/ \\1/' | sort && \
                find . -type f -print0 | sort -z | xargs -0 sha256sum && \
                (getfattr -R -h -d -m - --absolute-names . 2>/dev/null || true)";
    run("sh", &["-c", list, &root.to_string_lossy()])
}

#[test]
fn what_is_unpacked_is_what_umoci_unpacks() {
    let daemon = Daemon::builder().start();
    let root = fs::read(testkit::fixtures::debian::root(Form::Plain)).unwrap();
    let above = Layer::default()
        .directory("etc")
        .without("etc/debian_version")
        .directory("var")
        .opaque("var/log")
        .file("var/log/new", "new")
        .file("word", "x");
    let layout = daemon.path().join("debian");
    Image::default()
        .layer(root, Form::Gzip)
        .layer(above.tar(), Form::Gzip)
        .config(json!({"Cmd": ["true"]}))
        .write(&layout);
    let bundle = daemon.path().join("bundle");
    run("umoci", &["unpack", "--image", &format!("{}:latest", layout.display()), &bundle.to_string_lossy()]);

    let said = daemon.ok(&["load", "-i", &packed(&layout).to_string_lossy()]);
    let id = said.strip_prefix("Loaded image ID: ").unwrap_or_else(|| panic!("{said}"));
    daemon.ok(&["create", "--name", "new", id]);
    let (archive, ours) = (daemon.path().join("export.tar"), daemon.path().join("ours"));
    daemon.ok(&["export", "-o", &archive.to_string_lossy(), "new"]);
    fs::create_dir(&ours).unwrap();
    let options = ["--xattrs", "--xattrs-include=*", "--same-owner", "-p"];
    run("tar", &[&options[..], &["-xf", &archive.to_string_lossy(), "-C", &ours.to_string_lossy()]].concat());
    // What every container has something mounted on is there besides, and empty where the image has no such file, as with Docker.
    let mut points = vec!["./etc/hostname", "./etc/hosts", "./etc/resolv.conf"];
    points.retain(|point| !bundle.join("rootfs").join(point).exists());
    for point in &points {
        assert_eq!(fs::read(ours.join(point)).unwrap(), b"", "{point}");
    }
    let is_point = |line: &&str| points.iter().any(|point| line.split(' ').any(|word| word == *point));
    let (theirs, ours) = (tree(&bundle.join("rootfs")), tree(&ours));
    let ours = ours.lines().filter(|line| !is_point(line)).collect::<Vec<_>>().join("\n");
    for (theirs, ours) in theirs.lines().zip(ours.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
    assert!(ours.lines().count() > 5000, "{}", ours.lines().count());
    daemon.ok(&["rm", "new"]);
}

#[test]
fn docker_imports_what_corten_exports_and_runs_what_it_commits() {
    let (daemon, _) = daemon();
    let at = |name: &str| daemon.path().join(name).to_string_lossy().into_owned();
    daemon.ok(&["run", "--name", "changed", "small:1", "sh", "-c", "echo more > /more; rm -r /srv; mkdir /srv"]);
    daemon.ok(&["export", "-o", &at("export.tar"), "changed"]);
    daemon.ok(&["commit", "-c", "CMD [\"sh\", \"-c\", \"cat /more; ls /srv | wc -l\"]", "changed", "committed:1"]);
    daemon.ok(&["save", "-o", &at("committed.tar"), "committed:1"]);
    let docker = Docker::start().expect("dockerd runs");
    docker.run(&["import", &at("export.tar"), "imported:1"]).unwrap();
    assert_eq!(docker.run(&["run", "--rm", "--network", "none", "imported:1", "cat", "/more"]).unwrap(), "more");
    docker.run(&["load", "-i", &at("committed.tar")]).unwrap();
    assert_eq!(docker.run(&["run", "--rm", "--network", "none", "committed:1"]).unwrap(), "more\n0");
    daemon.ok(&["rm", "changed"]);
}

#[test]
fn an_archive_that_fails_leaves_no_file_and_a_terminal_gets_none() {
    let (daemon, _) = daemon();
    let file = daemon.path().join("kept.tar");
    fs::write(&file, "before").unwrap();
    daemon.fails(&["save", "-o", &file.to_string_lossy(), "small:1", "nothing:1"], 1).saying("nothing");
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
    let parts = fs::read_dir(daemon.path())
        .unwrap()
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().contains(".part")));
    assert_eq!(parts.count(), 0);
    daemon
        .fails(&["save", "--platform", "linux/s390x", "-o", &file.to_string_lossy(), "small:1"], 1)
        .saying("linux/s390x");
    daemon.fails(&["load", "-i", &daemon.path().to_string_lossy()], 1).saying("directory");
    let mut terminal = daemon.terminal(&["save", "small:1"], 24, 80);
    terminal.expect("not written to a terminal");
    assert_eq!(terminal.wait(), 1);
}
