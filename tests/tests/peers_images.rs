// SPDX-License-Identifier: Apache-2.0
//! Images from the world: a real Debian root made by mmdebstrap, real layers pushed by skopeo into Debian's registry.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::fixtures::debian::{self, Form};
use testkit::fixtures::hostile::{self, BAIT};
use testkit::fixtures::image::{Image, Layer};
use testkit::fixtures::registry::Registry;

/// A small image, as a layout.
fn small_image(directory: &Path, words: &str) -> PathBuf {
    let layout = directory.join(format!("layout-{words}"));
    Image::saying(words).write(&layout);
    layout
}

fn manifest(layout: &Path) -> (String, Value) {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).expect("a layout")).expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
    let text = fs::read(layout.join("blobs").join(digest.replace(':', "/"))).expect("a manifest");
    (digest, serde_json::from_slice(&text).expect("JSON"))
}

/// How many unpacked layers a daemon keeps.
fn layers(daemon: &Daemon) -> usize {
    fn hashes(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        let names = entries.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()));
        names
            .map(|(path, name)| {
                let hash = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
                if hash {
                    1
                } else if name == "sha256" {
                    hashes(&path)
                } else {
                    0
                }
            })
            .sum()
    }
    hashes(&daemon.path().join("data/layers"))
}

#[test]
fn a_debian_root_is_imported_plain_and_compressed_and_kept_once() {
    let daemon = Daemon::builder().start();
    for (form, name) in [(Form::Plain, "plain"), (Form::Gzip, "gzip"), (Form::Zstd, "zstd")] {
        daemon.ok(&["import", &debian::root(form).to_string_lossy(), name]);
        let seen = daemon.ok(&[
            "run",
            "--rm",
            name,
            "sh",
            "-c",
            ". /etc/os-release; echo $VERSION_CODENAME; dpkg -l | grep -c ^ii",
        ]);
        let (release, packages) = seen.split_once('\n').unwrap_or_default();
        assert!(fs::read_to_string("/etc/os-release").unwrap().contains(release), "{seen}");
        assert!(packages.parse::<u32>().is_ok_and(|count| count > 50), "{seen}");
    }
    assert_eq!(layers(&daemon), 1, "three times the same layer is one layer");
    let owner =
        daemon.ok(&["run", "--rm", "plain", "stat", "-c", "%U:%G %a", "/etc/shadow", "/tmp", "/usr/bin/passwd"]);
    assert_eq!(owner, "root:shadow 640\nroot:root 1777\nroot:root 4755");
}

#[test]
fn layers_are_pulled_verified_and_stacked_with_their_whiteouts() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let name = registry.push(&debian::layered(), "debian");
    daemon.ok(&["pull", &name]);
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "changed", "the image's own command, and the upper layer's file");
    assert_eq!(daemon.ok(&["run", "--rm", &name, "sh", "-c", "echo $FROM_IMAGE $PWD"]), "yes /opt");
    let script = "ls /opt /srv/full; cat /opt/link; ls /etc/debian_version 2>&1 | grep -c 'No such'";
    assert_eq!(
        daemon.ok(&["run", "--rm", &name, "sh", "-c", script]),
        "/opt:\nlink\ntwo\n\n/srv/full:\nnew\nchanged\n1"
    );
    assert_eq!(layers(&daemon), 4);
    let again = daemon.corten(&["pull", &name]).ok();
    assert!(again.took.as_secs() < 5, "nothing had to be fetched\n{again}");
    let (digest, _) = manifest(&debian::layered());
    daemon.ok(&["pull", &format!("{name}@{digest}")]);
}

#[test]
fn images_share_the_layers_they_have_in_common() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    for words in ["one", "two", "three"] {
        let name = registry.push(&small_image(daemon.path(), words), words);
        // Not pulled before: `run` does it.
        assert_eq!(daemon.corten(&["run", "--rm", &name]).ok().stdout, words);
    }
    assert_eq!(layers(&daemon), 4, "one shared and three of their own");
    daemon.ok(&["rmi", &registry.name("one")]);
    assert_eq!(layers(&daemon), 3);
    assert_eq!(daemon.ok(&["run", "--rm", &registry.name("two")]), "two");
}

#[test]
fn the_content_store_is_an_oci_layout_that_skopeo_reads() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let name = registry.push(&small_image(daemon.path(), "shared"), "shared");
    daemon.ok(&["pull", &name]);
    let index: Value =
        serde_json::from_slice(&fs::read(daemon.path().join("data/content/index.json")).unwrap()).unwrap();
    let entry = &index["manifests"][0];
    let reference =
        entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or_else(|| panic!("{index}"));
    let source = format!("oci:{}:{reference}", daemon.path().join("data/content").display());
    let output = testkit::process::command("skopeo").args(["inspect", "--raw", &source]).output().unwrap();
    assert!(output.status.success(), "{index}\n{}", String::from_utf8_lossy(&output.stderr));
    let copy = format!("dir:{}", daemon.path().join("copy").display());
    let output = testkit::process::command("skopeo").args(["copy", "--quiet", &source, &copy]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_tampered_or_truncated_layer_is_refused_and_nothing_of_it_stays() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let layout = small_image(daemon.path(), "victim");
    let name = registry.push(&layout, "victim");
    let (_, manifest) = manifest(&layout);
    let layer = manifest["layers"][1]["digest"].as_str().unwrap().to_owned();
    let blob = registry.blob(&layer);
    let good = fs::read(&blob).unwrap();
    let mut tampered = good.clone();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 0xff;
    for bad in [tampered, good[..good.len() - 7].to_vec()] {
        fs::write(&blob, &bad).unwrap();
        let failed = daemon.fails(&["pull", &name], 1);
        assert!(failed.stderr.contains(&layer[..19]) || failed.stderr.contains("digest"), "{failed}");
        daemon.fails(&["run", "--rm", &name], 125);
        assert_eq!(daemon.ok(&["images", "-q"]), "");
        assert!(!daemon.path().join("data/content/blobs").join(layer.replace(':', "/")).exists());
    }
    fs::write(&blob, &good).unwrap();
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "victim", "the good one is taken after the bad");
}

#[test]
fn a_layer_whose_diff_id_is_not_the_configs_is_refused() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let layout = small_image(daemon.path(), "liar");
    let (_, good) = manifest(&layout);
    // The same manifest, with a config that promises another content for the second layer.
    let config = good["config"]["digest"].as_str().unwrap();
    let text = fs::read_to_string(layout.join("blobs").join(config.replace(':', "/"))).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["rootfs"]["diff_ids"][1] = format!("sha256:{}", "ab".repeat(32)).into();
    let put = |value: &Value| {
        let bytes = value.to_string();
        let digest = testkit::fixtures::image::digest(bytes.as_bytes());
        fs::write(layout.join("blobs").join(digest.replace(':', "/")), &bytes).unwrap();
        (digest, bytes.len())
    };
    let mut changed = good.clone();
    let (digest, size) = put(&config);
    (changed["config"]["digest"], changed["config"]["size"]) = (digest.into(), size.into());
    let (digest, size) = put(&changed);
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": good["mediaType"], "digest": digest, "size": size,
        "annotations": {"org.opencontainers.image.ref.name": "latest"}}]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let name = registry.push(&layout, "liar");
    daemon.fails(&["pull", &name], 1);
    assert_eq!(daemon.ok(&["images", "-q"]), "");
}

#[test]
fn a_digest_nobody_has_and_a_tag_nobody_made() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let name = registry.push(&small_image(daemon.path(), "here"), "here");
    let digest = format!("sha256:{}", "0".repeat(64));
    daemon.fails(&["pull", &format!("{name}@{digest}")], 1).saying(&digest[..19]);
    daemon.fails(&["pull", &format!("{name}:no-such-tag")], 1).saying("no-such-tag");
    daemon.fails(&["run", "--rm", &registry.name("nothing"), "true"], 125).saying("nothing");
    assert_eq!(daemon.ok(&["images", "-q"]), "");
}

#[test]
fn a_hostile_layer_from_a_registry_is_refused() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    for (number, hostile) in hostile::all().into_iter().enumerate() {
        let layout = daemon.path().join(format!("hostile-{number}"));
        Image::default()
            .layer(testkit::fixtures::busybox::bytes(), Form::Gzip)
            .layer(hostile.tar, Form::Gzip)
            .config(json!({"Cmd": ["true"]}))
            .write(&layout);
        let name = registry.push(&layout, &format!("hostile{number}"));
        let outcome = daemon.corten(&["pull", &name]);
        assert!(!Path::new("/tmp").join(BAIT).exists(), "{}: it wrote to the host", hostile.name);
        assert_eq!(outcome.code, 1, "{} was believed\n{outcome}", hostile.name);
        outcome.fails(1);
        assert_eq!(daemon.ok(&["images", "-q"]), "");
    }
}

#[test]
fn an_image_for_another_architecture_says_so() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let layout = daemon.path().join("foreign");
    let mut program = vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 22, 0, 0, 0, 1];
    program.resize(200, 0);
    Image::default()
        .architecture("s390x")
        .layer(Layer::default().directory("bin").file_with_mode("bin/program", 0o755, &program).tar(), Form::Gzip)
        .config(json!({"Cmd": ["/bin/program"]}))
        .write(&layout);
    let name = registry.push(&layout, "foreign");
    let failed = daemon.corten(&["run", "--rm", &name]);
    assert!(matches!(failed.code, 125 | 126), "{failed}");
    assert!(failed.stderr.contains("s390x"), "{failed}");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

#[test]
fn apt_get_installs_curl_inside_debian() {
    let daemon = Daemon::builder().internet().start();
    daemon.ok(&["import", &debian::root(Form::Plain).to_string_lossy(), "debian"]);
    let script =
        "apt-get update && apt-get install -y --no-install-recommends curl && curl -s http://any.name.example/whoami";
    let installed = daemon
        .spawn(&["run", "--rm", "-e", "DEBIAN_FRONTEND=noninteractive", "debian", "sh", "-ec", script])
        .wait_for(std::time::Duration::from_secs(300))
        .ok();
    assert!(installed.stdout.contains("Setting up curl"), "{installed}");
    assert!(installed.text().ends_with(&testkit::internet::HOST.to_string()), "{installed}");
}
