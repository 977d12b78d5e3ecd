// SPDX-License-Identifier: Apache-2.0
//! Copies beside skopeo's: each reads what the other has written, of every kind, and digests are the same.

use std::fs;
use std::path::Path;

use end_to_end::copying::{Lab, json_of};
use serde_json::Value;
use testkit::docker::Docker;
use testkit::fixtures::registry::Registry;

/// What skopeo says; it must succeed.
#[track_caller]
fn skopeo(lab: &Lab, arguments: &[&str]) -> String {
    let mut command = testkit::process::command("skopeo");
    command.args(arguments);
    let output = lab.sandbox.run(move || command.output().expect("skopeo is installed"));
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const COPY: [&str; 4] = ["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"];

/// The digest of the manifest that skopeo copies out of a place.
fn digest_by_skopeo(lab: &Lab, place: &str, name: &str) -> String {
    let directory = lab.at(name);
    skopeo(lab, &[&COPY[..], &["--preserve-digests", "--all", place, &format!("dir:{directory}")]].concat());
    testkit::fixtures::image::digest(&fs::read(Path::new(&directory).join("manifest.json")).expect("a manifest"))
}

#[test]
fn skopeo_reads_what_is_copied_and_what_it_copies_is_read() {
    let lab = Lab::default();
    let registry = Registry::serve(&lab.sandbox, &lab.path().join("registry"));
    let original = lab.image("original");
    let source = format!("oci:{}:latest", lab.at("original"));
    for kind in ["docker", "oci", "oci-archive", "dir"] {
        let place = |who: &str| match kind {
            "docker" => format!("docker://{}", registry.name(&format!("{who}:1"))),
            "dir" => format!("dir:{}", lab.at(&format!("{who}.dir"))),
            kind => format!("{kind}:{}:some-1.0", lab.at(&format!("{who}.{kind}"))),
        };
        assert_eq!(lab.copied(&[&source, &place("ours")]), original);
        assert_eq!(digest_by_skopeo(&lab, &place("ours"), &format!("{kind}-ours")), original, "{kind}");
        skopeo(&lab, &[&COPY[..], &["--preserve-digests", &source, &place("theirs")]].concat());
        assert_eq!(
            lab.copied(&[&place("theirs"), &format!("dir:{}", lab.at(&format!("{kind}-read")))]),
            original,
            "{kind}"
        );
    }
    let archive = |who: &str| format!("docker-archive:{}:some/name:1", lab.at(&format!("{who}.tar")));
    lab.copied(&[&source, &archive("ours")]);
    skopeo(&lab, &[&COPY[..], &[&source, &archive("theirs")]].concat());
    for (from, reader) in [("ours", "skopeo"), ("theirs", "corten")] {
        let directory = lab.at(&format!("{from}.read"));
        let target = format!("dir:{directory}");
        match reader {
            "skopeo" => drop(skopeo(&lab, &[&COPY[..], &[&archive(from), &target]].concat())),
            _ => drop(lab.copied(&[&archive(from), &target])),
        }
        let manifest = json_of(&Path::new(&directory).join("manifest.json"));
        let original = json_of(&Path::new(&lab.at("dir-ours")).join("manifest.json"));
        assert_eq!(manifest["config"]["digest"], original["config"]["digest"], "{from}");
        assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(3), "{from}");
    }
}

#[test]
fn an_index_and_conversions_are_as_skopeo_has_them() {
    let lab = Lab::default();
    let registry = Registry::serve(&lab.sandbox, &lab.path().join("registry"));
    let (index, images) = lab.index("index");
    let source = format!("oci:{}:latest", lab.at("index"));
    let place = |name: &str| format!("docker://{}", registry.name(name));
    assert_eq!(lab.copied(&["--all", &source, &place("all:1")]), index);
    assert_eq!(digest_by_skopeo(&lab, &place("all:1"), "all"), index);
    skopeo(&lab, &[&COPY[..], &["--all", "--preserve-digests", &place("all:1"), &place("theirs:1")]].concat());
    assert_eq!(lab.copied(&["--all", &place("theirs:1"), &format!("dir:{}", lab.at("read"))]), index);
    assert_eq!(lab.copied(&["--platform", "linux/s390x", &place("theirs:1"), &place("one:1")]), images[0]);

    // Converted: what is said of the layers is what skopeo says, and it reads the result.
    let single = lab.image("single");
    let single_source = format!("oci:{}:latest", lab.at("single"));
    lab.copied(&["--format", "docker", &single_source, &place("ours:docker")]);
    skopeo(
        &lab,
        &[&COPY[..], &["--format", "v2s2", &single_source, &format!("dir:{}", lab.at("theirs-docker"))]].concat(),
    );
    let raw = |name: &str| -> Value {
        serde_json::from_str(&skopeo(&lab, &["inspect", "--raw", "--tls-verify=false", &place(name)])).unwrap()
    };
    let theirs = json_of(&Path::new(&lab.at("theirs-docker")).join("manifest.json"));
    let of = |manifest: &Value| -> Vec<(Value, Value)> {
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| (layer["digest"].clone(), layer["size"].clone())).collect()
    };
    let ours = raw("ours:docker");
    assert_eq!((&ours["mediaType"], &ours["config"]), (&theirs["mediaType"], &theirs["config"]));
    assert_eq!(of(&ours), of(&theirs));
    skopeo(&lab, &[&COPY[..], &[&place("ours:docker"), &format!("oci:{}:x", lab.at("again"))]].concat());
    assert_eq!(lab.copied(&["--format", "oci", &place("ours:docker"), &format!("dir:{}", lab.at("back"))]), single);
    lab.copied(&["--compress-format", "zstd", &single_source, &place("ours:zstd")]);
    skopeo(&lab, &[&COPY[..], &[&place("ours:zstd"), &format!("oci:{}:zstd", lab.at("again"))]].concat());
}

#[test]
fn docker_runs_what_is_copied_into_an_archive_and_its_archives_are_copied() {
    let lab = Lab::default();
    lab.image("original");
    lab.copied(&[&format!("oci:{}", lab.at("original")), &format!("docker-archive:{}:app:1", lab.at("a.tar"))]);
    let docker = Docker::start().expect("dockerd runs");
    assert!(docker.run(&["load", "-i", &lab.at("a.tar")]).unwrap().contains("app:1"));
    assert_eq!(docker.run(&["run", "--rm", "--network", "none", "app:1"]).unwrap(), "original");
    docker.run(&["tag", "app:1", "app:2"]).unwrap();
    docker.run(&["save", "-o", &lab.at("saved.tar"), "app:1", "app:2"]).unwrap();
    lab.copied(&[&format!("docker-archive:{}:app:2", lab.at("saved.tar")), &format!("oci:{}:x", lab.at("back"))]);
    skopeo(&lab, &["inspect", &format!("oci:{}:x", lab.at("back"))]);
}
