// SPDX-License-Identifier: Apache-2.0
//! `corten copy` between all kinds of places, whole, in part and converted; and from places that lie.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use end_to_end::copying::{Lab, blob, json_of, top, write_blob};
use serde_json::{Value, json};
use testkit::fixtures::debian::Form;
use testkit::fixtures::hostile;
use testkit::fixtures::image::{Image, Layer, digest};
use testkit::fixtures::registry::{PASSWORD, PASSWORD_HASH, USER};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The manifest of the image `latest` of a layout.
fn manifest(layout: &Path) -> Value {
    json_of(&blob(layout, top(layout)["digest"].as_str().expect("a digest")))
}

/// Everything in a directory but what is expected there.
fn left(directory: &Path, expected: &[&str]) -> Vec<String> {
    let names = fs::read_dir(directory)
        .expect("as the test made it")
        .map(|entry| entry.expect("as the test made it").file_name().to_string_lossy().into_owned());
    names.filter(|name| !expected.contains(&name.as_str())).collect()
}

#[test]
fn every_kind_of_place_is_copied_to_every_other() {
    let lab = Lab::default();
    let registry = lab.registry("registry", &[]);
    let original = lab.image("original");
    let config = manifest(&lab.path().join("original"))["config"]["digest"].clone();
    let place = |kind: &str, name: &str| match kind {
        "docker" => registry.place(&format!("{name}:1")),
        "dir" => format!("dir:{}", lab.at(&format!("{name}.dir"))),
        "docker-archive" => format!("docker-archive:{}:some/name:1", lab.at(&format!("{name}.docker"))),
        kind => format!("{kind}:{}:1.0", lab.at(&format!("{name}.{kind}"))),
    };
    let kinds = ["docker", "oci", "oci-archive", "docker-archive", "dir"];
    for kind in kinds {
        lab.copied(&[&format!("oci:{}", lab.at("original")), &place(kind, "first")]);
    }
    for from in kinds {
        for to in kinds {
            let name = format!("{from}-to-{to}");
            let printed = lab.copied(&[&place(from, "first"), &place(to, &name)]);
            let archives = [from, to].contains(&"docker-archive");
            assert_eq!(printed == original, !archives, "{name}: {printed}");
            let keeping = lab.copy(&["--preserve-digests", &place(from, "first"), &place(to, &format!("{name}-kept"))]);
            assert_eq!(keeping.code == 0, !archives, "{name}: {keeping}");
            // Back to where it can be looked at: the same image whichever way it went, and every layer verified.
            let back = lab.at(&format!("{name}.back"));
            lab.copied(&[&place(to, &name), &format!("oci:{back}")]);
            assert_eq!(manifest(Path::new(&back))["config"]["digest"], config, "{name}");
            assert_eq!(manifest(Path::new(&back))["layers"].as_array().map(Vec::len), Some(3), "{name}");
        }
    }
    assert!(!lab.path().join("docker-to-docker-archive-kept.docker").exists(), "what fails leaves nothing");
    assert_eq!(left(lab.path(), &[]).iter().filter(|name| name.contains(".part")).count(), 0);
}

#[test]
fn layers_out_of_a_docker_archive_are_compressed_and_into_one_not() {
    let lab = Lab::default();
    lab.image("original");
    let archive = format!("docker-archive:{}", lab.at("a.tar"));
    lab.copied(&[&format!("oci:{}", lab.at("original")), &format!("{archive}:app")]);
    lab.copied(&[&archive, &format!("oci:{}", lab.at("oci"))]);
    lab.copied(&[&archive, &format!("dir:{}", lab.at("dir"))]);
    let types = |manifest: &Value| {
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["mediaType"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(types(&manifest(&lab.path().join("oci"))), ["application/vnd.oci.image.layer.v1.tar+gzip"; 3]);
    let plain = json_of(&lab.path().join("dir/manifest.json"));
    assert_eq!(types(&plain), ["application/vnd.docker.image.rootfs.diff.tar"; 3]);
    let config = json_of(&lab.path().join("dir").join(&plain["config"]["digest"].as_str().unwrap()[7..]));
    let layers = plain["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].clone());
    assert_eq!(
        config["rootfs"]["diff_ids"],
        layers.collect::<Value>(),
        "uncompressed, a layer's digest is its diff ID"
    );
}

#[test]
fn an_index_is_copied_whole_or_one_of_its_images() {
    let lab = Lab::default();
    let registry = lab.registry("registry", &[]);
    let (index, images) = lab.index("index");
    let source = format!("oci:{}:latest", lab.at("index"));
    assert_eq!(lab.copied(&[&source, &format!("dir:{}", lab.at("host"))]), images[1]);
    assert_eq!(lab.copied(&["--platform", "linux/s390x", &source, &registry.place("one")]), images[0]);
    for target in [
        registry.place("all:1"),
        format!("oci-archive:{}", lab.at("all.tar")),
        format!("dir:{}", lab.at("all")),
        format!("oci:{}:x", lab.at("layout")),
    ] {
        assert_eq!(lab.copied(&["--all", "--preserve-digests", &source, &target]), index, "{target}");
        for (platform, digest) in ["linux/s390x", "linux/amd64"].iter().zip(&images) {
            let one = format!("dir:{}", lab.at(&format!("one-{}-{}", platform.len(), target.len())));
            if platform == &"linux/s390x" || testkit::fixtures::image::native_architecture() == "amd64" {
                assert_eq!(lab.copied(&["--platform", platform, &target, &one]), *digest, "{target}");
            }
        }
    }
    let docker = lab.at("docker");
    lab.copied(&["--all", "--format", "docker", &source, &format!("dir:{docker}")]);
    let list = json_of(&Path::new(&docker).join("manifest.json"));
    assert_eq!(list["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
    assert_eq!(list["manifests"][0]["mediaType"], DOCKER);
    assert_eq!(list["manifests"][0]["platform"]["architecture"], "s390x");
    assert_eq!(lab.copied(&["--all", &format!("dir:{docker}"), &format!("oci:{}:y", lab.at("layout"))]), index);
    let archive = format!("docker-archive:{}", lab.at("no.tar"));
    lab.copy(&["--all", &source, &archive]).fails(1).saying("several platforms").saying("--platform");
    lab.copy(&["--platform", "linux/arm64", &source, &archive]).fails(1).saying("linux/s390x");
    assert!(!lab.path().join("no.tar").exists());
}

#[test]
fn manifests_are_converted_and_layers_compressed_as_asked() {
    let lab = Lab::default();
    let original = lab.image("original");
    let source = format!("oci:{}", lab.at("original"));
    let docker = lab.at("docker");
    let converted = lab.copied(&["--format", "docker", &source, &format!("dir:{docker}")]);
    let there = json_of(&Path::new(&docker).join("manifest.json"));
    assert_eq!((&there["mediaType"], converted == original), (&json!(DOCKER), false));
    assert_eq!(there["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    assert_eq!(there["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert_eq!(
        lab.copied(&["--format", "oci", &format!("dir:{docker}"), &format!("dir:{}", lab.at("back"))]),
        original
    );
    lab.copy(&["--format", "docker", "--preserve-digests", &source, &format!("dir:{}", lab.at("no"))])
        .fails(1)
        .saying("would change");
    lab.copy(&["--format", "docker", &source, &format!("oci:{}", lab.at("no"))]).fails(1).saying("OCI format only");

    let zstd = lab.at("zstd");
    let small = ["--compress-format", "zstd", "--compression-level", "19"];
    lab.copied(&[&small[..], &[&format!("dir:{docker}"), &format!("oci:{zstd}")]].concat());
    let packed = manifest(Path::new(&zstd));
    assert_eq!(packed["mediaType"], OCI);
    for layer in packed["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        let bytes = fs::read(blob(Path::new(&zstd), layer["digest"].as_str().unwrap())).unwrap();
        assert_eq!((&bytes[..4], json!(bytes.len())), (&[0x28, 0xb5, 0x2f, 0xfd][..], layer["size"].clone()));
    }
    lab.copied(&["--compress-format", "gzip", &format!("oci:{zstd}"), &format!("oci:{}", lab.at("gzip"))]);
    let unpacked = |layout: &str| {
        let target = lab.at(&format!("{}.plain", Path::new(layout).file_name().unwrap().to_string_lossy()));
        lab.copied(&[&format!("oci:{layout}"), &format!("docker-archive:{target}")]);
        fs::read(target).unwrap()
    };
    assert!(unpacked(&lab.at("gzip")) == unpacked(&zstd) && unpacked(&zstd) == unpacked(&lab.at("original")));
    lab.copy(&["--format", "docker", &format!("oci:{zstd}"), &format!("dir:{}", lab.at("no"))])
        .fails(1)
        .saying("tar+zstd")
        .saying("--compress-format gzip");
    lab.copy(&["--compress-format", "gzip", "--compression-level", "20", &source, "dir:x"])
        .fails(1)
        .saying("from 1 to 9");
    assert!(!lab.path().join("no").exists());
}

#[test]
fn only_what_is_missing_is_moved() {
    let lab = Lab::default();
    let registry = lab.registry("registry", &[]);
    let other = lab.registry("other", &[]);
    lab.image("original");
    let source = format!("oci:{}", lab.at("original"));
    lab.copied(&[&source, &registry.place("a:1")]);
    let blobs = |all: Vec<(String, String)>, method: &str| {
        all.iter().filter(|(found, path)| found == method && path.contains("/blobs/")).count()
    };
    let before = blobs(registry.requests(), "GET");
    let again = lab.copy(&[&registry.place("a:1"), &registry.place("a:2")]).ok();
    assert!(again.stderr.contains("Already there"), "{again}");
    let mounted = lab.copy(&[&registry.place("a:1"), &registry.place("b:1")]).ok();
    assert!(mounted.stderr.contains("Mounted"), "{mounted}");
    assert_eq!(blobs(registry.requests(), "GET"), before, "no blob was fetched");
    lab.copied(&[&registry.place("a:1"), &other.place("a:1")]);
    assert_eq!(blobs(registry.requests(), "GET"), before + 4, "three layers and a configuration");
    let quiet = lab.copy(&["-q", &registry.place("a:1"), &source.replace("original", "new")]).ok();
    assert_eq!(quiet.stderr, "");
    lab.copied(&[&registry.place("a:1"), &format!("{}:2", source.replace("original", "new"))]);
    assert_eq!(blobs(registry.requests(), "GET"), before + 8, "the layout had them");
}

#[test]
fn a_layout_gets_one_more_image_and_nothing_else_is_written_to() {
    let lab = Lab::default();
    let (one, two) = (lab.image("one"), lab.image("two"));
    let layout = lab.path().join("all");
    let target = |name: &str| format!("oci:{}:{name}", layout.display());
    lab.copied(&[&format!("oci:{}", lab.at("one")), &target("one")]);
    lab.copied(&[&format!("oci:{}", lab.at("two")), &target("two")]);
    lab.copied(&[&format!("oci:{}", lab.at("two")), &target("again")]);
    assert_eq!(json_of(&layout.join("index.json"))["manifests"].as_array().map(Vec::len), Some(3));
    assert_eq!(left(&layout, &["blobs", "index.json", "oci-layout"]), Vec::<String>::new());
    assert_eq!(lab.copied(&[&target("one"), &format!("dir:{}", lab.at("1"))]), one);
    assert_eq!(lab.copied(&[&target("two"), &format!("dir:{}", lab.at("2"))]), two);
    lab.copied(&[&target("one"), &format!("dir:{}", lab.at("2"))]);
    assert_eq!(lab.copied(&[&format!("dir:{}", lab.at("2")), &target("third")]), one, "a dir holds the last one");
    let nameless = format!("oci:{}", layout.display());
    lab.copy(&[&nameless, "dir:x"]).fails(1).saying("holds 4 images: one, two, again, third");
    lab.copy(&[&target("nothing"), "dir:x"]).fails(1).saying("no such image: one");
    for kind in ["dir", "oci"] {
        let foreign = lab.path().join(format!("foreign-{kind}"));
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("mine"), "x").unwrap();
        lab.copy(&[&target("one"), &format!("{kind}:{}", foreign.display())]).fails(1).saying("not empty");
        assert_eq!(left(&foreign, &["mine"]), Vec::<String>::new());
    }
}

#[test]
fn a_docker_archive_is_read_by_name_and_by_place_through_links_and_compressed() {
    let lab = Lab::default();
    let layer = |word: &str| Layer::default().file("word", word).tar();
    let config = |tars: &[&[u8]]| {
        let diff_ids: Vec<_> = tars.iter().map(|tar| digest(tar)).collect();
        json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string()
    };
    let (a, b) = (layer("a"), layer("b"));
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&b).unwrap();
        encoder.finish().unwrap()
    };
    let items = json!([
        {"Config": "a.json", "RepoTags": ["a:1", "x/y:2"], "Layers": ["a/layer.tar"]},
        {"Config": "b.json", "RepoTags": null, "Layers": ["b/layer.tar", "c/layer.tar"]},
    ]);
    let tar = Layer::default()
        .file_with_mode("a/layer.tar", 0o644, &a)
        .link("b/layer.tar", "../a/layer.tar")
        .file_with_mode("c/layer.tar", 0o644, &gzip)
        .file("a.json", &config(&[&a]))
        .file("b.json", &config(&[&a, &b]))
        .file("manifest.json", &items.to_string())
        .tar();
    fs::write(lab.path().join("all.tar"), &tar).unwrap();
    fs::write(lab.path().join("all.tar.zst"), zstd_of(&tar)).unwrap();
    for file in ["all.tar", "all.tar.zst"] {
        let archive = format!("docker-archive:{}", lab.at(file));
        let target = |name: &str| format!("dir:{}", lab.at(&format!("{file}-{name}")));
        lab.copy(&[&archive, &target("no")]).fails(1).saying("holds 2 images: a:1, @1").saying(":@0");
        let named = lab.copied(&[&format!("{archive}:a:1"), &target("named")]);
        assert_eq!(lab.copied(&[&format!("{archive}:@0"), &target("first")]), named);
        assert_eq!(lab.copied(&[&format!("{archive}:x/y:2"), &target("other")]), named);
        lab.copied(&[&format!("{archive}:@1"), &target("second")]);
        lab.copy(&[&format!("{archive}:@2"), &target("no")]).fails(1).saying("no such image");
        let second = json_of(&lab.path().join(format!("{file}-second/manifest.json")));
        assert_eq!(second["layers"][0]["digest"], digest(&a));
        assert_eq!(second["layers"][1]["digest"], digest(&gzip));
    }
    lab.copy(&[&format!("docker-archive:{}:a:1", lab.at("all.tar")), "docker-archive:x:@1"])
        .fails(1)
        .saying("gets a name");
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("as the test made it")
}

#[test]
fn a_name_without_a_transport_is_told_what_there_is() {
    let lab = Lab::default();
    lab.copy(&["debian:12", "dir:x"]).fails(1).saying("docker://debian:12").saying("oci-archive:FILE");
    lab.copy(&["containers-storage:x", "dir:x"]).fails(1).saying("containers-storage");
    lab.copy(&["oci:/nonexistent", "dir:x"]).fails(1).saying("/nonexistent");
    lab.copy(&["docker://127.0.0.1:1/a", &format!("dir:{}", lab.at("x"))]).fails(1).saying("cannot reach registry");
    assert!(!lab.path().join("x").exists());
}

#[test]
fn the_digest_is_written_to_a_file_as_well() {
    let lab = Lab::default();
    let original = lab.image("original");
    let file = lab.at("digest");
    lab.copied(&["--digestfile", &file, &format!("oci:{}", lab.at("original")), &format!("dir:{}", lab.at("x"))]);
    assert_eq!(fs::read_to_string(file).unwrap(), original);
}

/// A layout of one image whose parts are then spoilt.
struct Spoilt<'a> {
    lab: &'a Lab,
    count: usize,
}

impl Spoilt<'_> {
    /// Spoils a new layout; every destination must refuse it with these words, and have nothing afterwards.
    #[track_caller]
    fn refused(&mut self, spoil: impl Fn(&Path, &Value), words: &str) {
        self.count += 1;
        let layout = self.lab.path().join(format!("spoilt-{}", self.count));
        Image::default()
            .layer(Layer::default().file("word", "x").tar(), Form::Gzip)
            .layer(Layer::default().file("word", &"y".repeat(600_000)).tar(), Form::Plain)
            .write(&layout);
        spoil(&layout, &manifest(&layout));
        let results = self.lab.path().join(format!("results-{}", self.count));
        fs::create_dir(&results).expect("as the test made it");
        for kind in ["dir", "oci", "oci-archive", "docker-archive"] {
            let target = format!("{kind}:{}", results.join("it").display());
            self.lab.copy(&[&format!("oci:{}", layout.display()), &target]).fails(1).saying(words);
            assert_eq!(left(&results, &[]), Vec::<String>::new(), "{kind}: {words}");
        }
    }
}

fn layer_of(layout: &Path, manifest: &Value, index: usize) -> std::path::PathBuf {
    blob(layout, manifest["layers"][index]["digest"].as_str().expect("as the test made it"))
}

/// Gives the image another manifest.
fn replace_manifest(layout: &Path, manifest: &Value) {
    let text = manifest.to_string();
    let digest = write_blob(layout, text.as_bytes());
    let entry = json!({"mediaType": OCI, "digest": digest, "size": text.len()});
    fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [entry]}).to_string())
        .expect("as the test made it");
}

#[test]
fn a_layout_that_lies_is_refused_and_nothing_comes_of_it() {
    let lab = Lab::default();
    let mut spoilt = Spoilt { lab: &lab, count: 0 };
    spoilt.refused(
        |layout, manifest| {
            let path = layer_of(layout, manifest, 1);
            let mut bytes = fs::read(&path).unwrap();
            bytes[300_000] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        "has the digest",
    );
    spoilt.refused(
        |layout, manifest| {
            let path = layer_of(layout, manifest, 0);
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        },
        "bytes and has",
    );
    spoilt.refused(
        |layout, manifest| {
            let mut manifest = manifest.clone();
            manifest["layers"][1]["size"] = json!(7);
            replace_manifest(layout, &manifest);
        },
        "should have 7 bytes",
    );
    spoilt.refused(|layout, manifest| fs::remove_file(layer_of(layout, manifest, 0)).unwrap(), "lacks the blob");
    spoilt.refused(
        |layout, manifest| {
            let path = layer_of(layout, manifest, 0);
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
        "lacks the blob",
    );
    spoilt.refused(
        |layout, manifest| {
            let path = layer_of(layout, manifest, 0);
            fs::remove_file(&path).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        },
        "lacks the blob",
    );
    spoilt.refused(
        |layout, manifest| {
            let path = blob(layout, manifest["config"]["digest"].as_str().unwrap());
            let text = fs::read_to_string(&path).unwrap().replace("linux", "minix");
            fs::write(path, text).unwrap();
        },
        "has the digest",
    );
    spoilt.refused(
        |layout, manifest| {
            let mut manifest = manifest.clone();
            manifest["manifests"] = json!([]);
            replace_manifest(layout, &manifest);
        },
        "both an index and an image manifest",
    );
    spoilt.refused(|layout, _| fs::write(layout.join("index.json"), "{").unwrap(), "index.json");
    spoilt.refused(
        |layout, _| fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"9"}"#).unwrap(),
        "version 1.0.0",
    );
    spoilt.refused(
        |layout, _| {
            let mut index = json_of(&layout.join("index.json"));
            index["manifests"][0]["digest"] = json!(format!("sha256:{}", "../".repeat(21) + "x"));
            fs::write(layout.join("index.json"), index.to_string()).unwrap();
        },
        "digest",
    );
}

#[test]
fn an_archive_that_lies_is_refused_and_nothing_comes_of_it() {
    let lab = Lab::default();
    let target = format!("dir:{}", lab.at("out"));
    let layer = Layer::default().file("word", "x").tar();
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}});
    let archive = |item: Value| {
        let items = json!([item]).to_string();
        Layer::default().file("manifest.json", &items).file("c.json", &config.to_string())
    };
    let item = |layers: Value| json!({"Config": "c.json", "Layers": layers});
    let good = archive(item(json!(["l.tar"]))).file_with_mode("l.tar", 0o644, &layer).tar();
    let mut other = layer.clone();
    other[520] ^= 1;
    let cases = [
        (
            "of another layer",
            archive(item(json!(["l.tar"]))).file_with_mode("l.tar", 0o644, &other).tar(),
            "has the digest",
        ),
        (
            "compressed, of another",
            archive(item(json!(["l"]))).file_with_mode("l", 0o644, &zstd_of(&other)).tar(),
            "has the digest",
        ),
        ("cut off", good[..good.len() - 2048].to_vec(), "truncated"),
        ("without its end", good[..good.len() - 1024].to_vec(), "end-of-archive"),
        (
            "a link that leads out",
            archive(item(json!(["l.tar"]))).link("l.tar", "/etc/passwd").tar(),
            "lacks the layer",
        ),
        ("a name that leads out", archive(item(json!(["../l.tar"]))).tar(), "lacks the layer"),
        ("a member that leads out", hostile::all().remove(0).tar, "refused"),
        ("too few layers", archive(item(json!([]))).tar(), "differ in the number of layers"),
        ("twice a name", archive(item(json!(["l.tar"]))).file("l.tar", "x").file("l.tar", "y").tar(), "twice"),
        ("nothing", Layer::default().file("x", "y").tar(), "lacks the document"),
        ("no archive", b"not an archive at all, whatever its name".repeat(40), "cannot read the image archive"),
    ];
    fs::write(lab.path().join("good.tar"), &good).unwrap();
    lab.copied(&[&format!("docker-archive:{}", lab.at("good.tar")), &format!("dir:{}", lab.at("good"))]);
    for (name, bytes, words) in cases {
        fs::write(lab.path().join("bad.tar"), bytes).unwrap();
        let failed = lab.copy(&[&format!("docker-archive:{}", lab.at("bad.tar")), &target]);
        assert_eq!(failed.code, 1, "{name}: {failed}");
        failed.fails(1).saying(words);
        assert_eq!(left(lab.path(), &["good.tar", "bad.tar", "good"]), Vec::<String>::new(), "{name}");
    }
}

/// A registry that answers with these documents, and stalls in the middle of whatever else it is asked for.
fn stalling(lab: &Lab, documents: Vec<(String, Vec<u8>)>) -> String {
    lab.sandbox.run(move || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("as the test made it");
        let address = listener.local_addr().expect("as the test made it");
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("as the test made it");
                let mut request = String::new();
                BufReader::new(stream.try_clone().expect("as the test made it")).read_line(&mut request).expect("as the test made it");
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let known = documents.iter().find(|(suffix, _)| path.ends_with(suffix.as_str()));
                let head = |length: usize| {
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {OCI}\r\nContent-Length: {length}\r\n\r\n")
                };
                match known {
                    Some((_, text)) => stream.write_all(&[head(text.len()).as_bytes(), text].concat()).expect("as the test made it"),
                    None => {
                        stream.write_all(&[head(1 << 20).as_bytes(), &[7; 300_000]].concat()).expect("as the test made it");
                        open.push(stream);
                    }
                }
            }
        });
        address.to_string()
    })
}

/// An image in a registry that stalls in the middle of its layer.
fn never_ending(lab: &Lab) -> String {
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(b"x")]}});
    let config = config.to_string();
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(b"x"), "size": 1 << 20}]});
    let documents = vec![
        ("/v2/".to_owned(), b"{}".to_vec()),
        ("/manifests/1".to_owned(), manifest.to_string().into_bytes()),
        (digest(config.as_bytes()), config.into_bytes()),
    ];
    format!("docker://{}/a:1", stalling(lab, documents))
}

/// Starts a copy that never ends, and waits until `directory` has something beside what is expected there.
#[track_caller]
fn begun(lab: &Lab, source: &str, place: &str, directory: &Path, expected: &[&str]) -> testkit::Running {
    let running = lab.spawn(&["copy", source, place], "");
    let begun = Instant::now();
    while left(directory, expected).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{place}: nothing was begun");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The first bytes are on their way now, and the rest never comes.
    std::thread::sleep(Duration::from_millis(300));
    running
}

#[test]
fn a_copy_that_is_interrupted_leaves_nothing() {
    let lab = Lab::default();
    let source = never_ending(&lab);
    let results = lab.path().join("results");
    fs::create_dir(&results).unwrap();
    for (kind, signal, code) in [
        ("dir", rustix::process::Signal::INT, 130),
        ("oci", rustix::process::Signal::TERM, 143),
        ("oci-archive", rustix::process::Signal::INT, 130),
        ("docker-archive", rustix::process::Signal::TERM, 143),
    ] {
        let place = format!("{kind}:{}", results.join("it").display());
        let running = begun(&lab, &source, &place, &results, &[]);
        running.signal(signal);
        let finished = running.wait();
        assert_eq!(finished.code, code, "{kind}: {finished}");
        assert!(finished.took < Duration::from_secs(20), "it waits for nobody: {finished}");
        assert_eq!(left(&results, &[]), Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn what_a_killed_copy_left_is_removed_by_the_next_and_what_another_is_making_stays() {
    let lab = Lab::default();
    lab.image("original");
    let (source, stalling) = (format!("oci:{}", lab.at("original")), never_ending(&lab));
    let results = lab.path().join("results");
    for kind in ["dir", "oci", "oci-archive", "docker-archive"] {
        fs::create_dir(&results).unwrap();
        let place = format!("{kind}:{}", results.join("it").display());
        let kill = |directory: &Path, expected: &[&str]| {
            let before = left(directory, expected);
            let before: Vec<&str> = expected.iter().copied().chain(before.iter().map(String::as_str)).collect();
            let running = begun(&lab, &stalling, &place, directory, &before);
            running.signal(rustix::process::Signal::KILL);
            assert_eq!(running.wait().code, 137, "{kind}");
        };
        kill(&results, &["it"]);
        assert_eq!(left(&results, &[]).len(), 1, "{kind}: this is what a kill leaves");
        let running = begun(&lab, &stalling, &place, &results, &[&left(&results, &[])[0]]);
        let making = left(&results, &[]);
        assert_eq!(making.len(), 1, "{kind}: it has removed the other's {making:?}");
        lab.copied(&[&source, &place]);
        assert_eq!(left(&results, &["it"]), making, "{kind}");
        running.signal(rustix::process::Signal::KILL);
        running.wait();
        // Now there is a destination, and what is new may lie inside of it.
        let (inside, there) = (results.join("it"), kind == "oci");
        if there {
            let whole = left(&inside, &[]);
            kill(&inside, &whole.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(left(&inside, &[]).len(), whole.len() + 1);
            lab.copied(&[&source, &place]);
            assert_eq!(left(&inside, &[]).len(), whole.len());
        } else {
            lab.copied(&[&source, &place]);
        }
        assert_eq!(left(&results, &["it"]), Vec::<String>::new(), "{kind}");
        fs::remove_dir_all(&results).unwrap();
    }
}

#[test]
fn passwords_come_from_stdin_and_are_not_repeated() {
    let lab = Lab::default();
    lab.image("original");
    let users = lab.at("users");
    fs::write(&users, format!("{USER}:{PASSWORD_HASH}\n")).unwrap();
    let registry = lab.registry("registry", &["--htpasswd", &users]);
    let source = format!("oci:{}", lab.at("original"));
    lab.copy(&[&source, &registry.place("a:1")]).fails(1).saying("corten login");
    let copy = |arguments: &[&str], input: &str| lab.spawn(&[&["copy"], arguments].concat(), input).wait();
    let wrong = copy(&["--dest-creds", USER, &source, &registry.place("a:1")], "wrong\n").fails(1);
    assert!(!wrong.stderr.contains("wrong"), "{wrong}");
    copy(&["--dest-creds", USER, &source, &registry.place("a:1")], &format!("{PASSWORD}\n")).ok();
    let both = ["--src-creds", USER, "--dest-creds", USER, &registry.place("a:1"), &registry.place("b:1")];
    copy(&both, &format!("{PASSWORD}\n{PASSWORD}\n")).ok();
    copy(&["--src-creds", &format!("{USER}:{PASSWORD}"), &registry.place("b:1"), &format!("dir:{}", lab.at("c"))], "")
        .ok();
    copy(&["--src-creds", USER, &registry.place("b:1"), "dir:x"], "")
        .fails(1)
        .saying("password for the source is empty");
}

#[test]
fn a_certificate_is_verified_unless_one_says_otherwise() {
    let lab = Lab::default();
    lab.image("original");
    let (certificate, key) = (lab.at("ca.crt"), lab.at("key.pem"));
    let mut openssl = testkit::process::command("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args([
        "-subj",
        "/CN=other",
        "-addext",
        "subjectAltName=DNS:other.example",
        "-keyout",
        &key,
        "-out",
        &certificate,
    ]);
    assert!(openssl.output().expect("openssl is installed").status.success());
    let registry = lab.registry("registry", &["--tls-cert", &certificate, "--tls-key", &key]);
    let source = format!("oci:{}", lab.at("original"));
    lab.copy(&[&source, &registry.place("a:1")]).fails(1).saying("secure connection");
    lab.copied(&["--dest-tls-verify=false", &source, &registry.place("a:1")]);
    lab.copy(&["--dest-tls-verify=false", &registry.place("a:1"), "dir:x"]).fails(1).saying("secure connection");
    lab.copied(&["--src-tls-verify=false", &registry.place("a:1"), &format!("dir:{}", lab.at("x"))]);
}

/// The most memory that a process has had, while it runs.
fn peak(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

#[test]
fn a_large_layer_is_not_held_in_memory() {
    const SIZE: usize = 200 << 20;
    let lab = Lab::default();
    let (one, two) = (lab.registry("one", &[]), lab.registry("two", &[]));
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(SIZE)
    .collect();
    let tar = Layer::default().file_with_mode("noise", 0o644, &noise).tar();
    Image::default().layer(tar, Form::Plain).write(&lab.path().join("large"));
    let places = [
        format!("oci:{}", lab.at("large")),
        one.place("a:1"),
        two.place("a:1"),
        format!("docker-archive:{}", lab.at("a.tar")),
        format!("oci-archive:{}", lab.at("b.tar")),
    ];
    for pair in places.windows(2) {
        let running = lab.spawn(&["copy", &pair[0], &pair[1]], "");
        let mut most = 0;
        while let Some(now) = peak(running.pid()) {
            most = now.max(most);
            std::thread::sleep(Duration::from_millis(5));
        }
        running.wait().ok();
        assert!((1..64 << 10).contains(&most), "{pair:?}: {most} KiB");
    }
}

#[test]
fn content_named_by_sha512_keeps_its_names_and_is_verified_by_them() {
    let lab = Lab::default();
    let registry = lab.registry("registry", &[]);
    lab.image("plain");
    // The same image, every blob of it named by the longer digest.
    let (plain, long) = (lab.path().join("plain"), lab.path().join("long"));
    let named = |bytes: &[u8]| oci::Algorithm::Sha512.digest(bytes).to_string();
    let write = |bytes: &[u8]| {
        let path = long.join("blobs").join(named(bytes).replace(':', "/"));
        fs::create_dir_all(path.parent().expect("blobs/sha512")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    };
    let mut text = manifest(&plain);
    let layers = text["layers"].as_array().expect("layers").len();
    let parts = ["/config".to_owned()].into_iter().chain((0..layers).map(|number| format!("/layers/{number}")));
    for part in parts {
        let part = text.pointer_mut(&part).expect("a part");
        let bytes = fs::read(blob(&plain, part["digest"].as_str().expect("a digest"))).expect("a blob");
        write(&bytes);
        part["digest"] = json!(named(&bytes));
    }
    let bytes = serde_json::to_vec(&text).expect("JSON");
    write(&bytes);
    let entry = json!({ "mediaType": OCI, "digest": named(&bytes), "size": bytes.len() });
    fs::write(long.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string())
        .expect("a file");
    fs::copy(plain.join("oci-layout"), long.join("oci-layout")).expect("a file");

    let from = format!("oci:{}", lab.at("long"));
    let archive = format!("oci-archive:{}", lab.at("long.tar"));
    assert_eq!(lab.copied(&[&from, &archive]), named(&bytes));
    let by_digest = registry.place(&format!("long@{}", named(&bytes)));
    assert_eq!(lab.copied(&[&archive, &by_digest]), named(&bytes));
    assert_eq!(lab.copied(&[&by_digest, &format!("oci:{}", lab.at("back"))]), named(&bytes));
    let config = text["config"]["digest"].as_str().expect("a digest").replace(':', "/");
    let config = |layout: &str| lab.path().join(layout).join("blobs").join(&config);
    assert_eq!(fs::read(config("back")).expect("it came"), fs::read(config("long")).expect("it is there"));

    let mut broken = fs::read(config("long")).expect("it is there");
    broken[0] ^= 1;
    fs::write(config("long"), broken).expect("a file");
    let refused = lab.copy(&[&from, &format!("dir:{}", lab.at("never"))]);
    refused.fails(1).saying("configuration sha512:").saying("has the digest sha512:");
    assert!(!lab.path().join("never").exists());
}
