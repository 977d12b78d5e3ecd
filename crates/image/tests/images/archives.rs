// SPDX-License-Identifier: Apache-2.0
//! Saving and loading: what is saved is loaded again, in every form that archives come in; what lies is refused whole.

use std::collections::BTreeMap;

use errors::{Classify as _, Kind};
use image::{Image, ImageError, LoadError, Platform};
use layer::{Entry, Kind as Member, Writer};
use oci::{Digest, ImageRef};
use serde_json::{Value, json};

use crate::fixture::{Draft, Host, gzip, name, tar, three_layers, zstd};

/// An archive being put together, member by member.
struct Archive(Writer<Vec<u8>>);

impl Archive {
    fn new() -> Archive {
        Archive(Writer::new(Vec::new()))
    }

    fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Archive {
        let mut entry = Entry::new(Member::File, name, 0o644);
        entry.size = content.as_ref().len() as u64;
        self.0.file(&entry, content.as_ref()).unwrap();
        self
    }

    fn link(mut self, kind: Member, name: &str, target: &str) -> Archive {
        let mut entry = Entry::new(kind, name, 0o777);
        entry.link = target.into();
        self.0.entry(&entry).unwrap();
        self
    }

    fn other(mut self, kind: Member, name: &str) -> Archive {
        self.0.entry(&Entry::new(kind, name, 0o755)).unwrap();
        self
    }

    fn finish(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}

/// `three_layers` as the configuration and the layers' archives that `docker save` up to version 24 wrote.
fn config(layers: &[Vec<u8>]) -> String {
    Draft::new(layers).config.to_string()
}

fn item(config: &str, tags: &[&str], layers: &[&str]) -> Value {
    json!({"Config": config, "RepoTags": tags, "Layers": layers})
}

/// The older form: a directory for each layer, one of them a link to another's.
fn old_form(manifest_first: bool) -> Vec<u8> {
    let [a, b, c] = three_layers();
    let layers = [a.clone(), b.clone(), c.clone(), b.clone()];
    let manifest =
        json!([item("abc.json", &["old:1", "older:2"], &["1/layer.tar", "2/layer.tar", "3/layer.tar", "4/layer.tar"])]);
    let mut archive = Archive::new();
    if manifest_first {
        archive = archive.file("manifest.json", manifest.to_string());
    }
    // A link may come before what it leads to.
    archive = archive.other(Member::Directory, "4").link(Member::Symlink, "4/layer.tar", "../2/layer.tar");
    for (n, layer) in [(1, a), (2, b), (3, c)] {
        archive = archive.file(&format!("{n}/VERSION"), "1.0").file(&format!("{n}/json"), "{}");
        archive = archive.file(&format!("{n}/layer.tar"), layer);
    }
    archive = archive.file("abc.json", config(&layers)).file("repositories", "{}");
    if !manifest_first {
        archive = archive.file("./manifest.json", manifest.to_string());
    }
    archive.finish()
}

fn load(host: &Host, archive: &[u8]) -> Result<Vec<(Image, Vec<ImageRef>)>, ImageError> {
    let loaded = host.images.load(archive, &[])?;
    Ok(loaded.into_iter().map(|loaded| (loaded.image, loaded.names)).collect())
}

fn save(host: &Host, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut archive = Vec::new();
    host.images.save(&names, &[]).unwrap().write(&mut archive).unwrap();
    archive
}

#[test]
fn what_is_saved_is_loaded_again_byte_for_byte() {
    let (from, to) = (Host::new(), Host::new());
    let names = ["registry.example/a/b:1", "c:2"].map(name);
    for (n, name) in names.iter().enumerate() {
        from.images.import(&gzip(&tar(&[("file", &n.to_string())]))[..], name, &[]).unwrap();
    }
    from.images.tag("c:2", &name("c:3")).unwrap();
    let archive = save(&from, &["registry.example/a/b", "c"]);
    assert_eq!(archive, save(&from, &["c:3", "registry.example/a/b:1", "c:2"]), "the same images, the same bytes");
    let loaded = load(&to, &archive).unwrap();
    let all: Vec<String> = loaded.iter().flat_map(|(_, names)| names).map(ImageRef::to_string).collect();
    assert_eq!(all.len(), 3, "{all:?}");
    for text in ["registry.example/a/b:1", "c:2", "c:3"] {
        assert_eq!(to.images.resolve(text).unwrap(), from.images.resolve(text).unwrap());
    }
    assert_eq!(to.blobs(), from.blobs());
    let id = from.images.resolve("c:2").unwrap().id.to_string();
    let unnamed = Host::new();
    let loaded = load(&unnamed, &save(&from, &[&id])).unwrap();
    assert_eq!((loaded[0].0.id.to_string(), loaded[0].1.len()), (id, 0));
}

#[test]
fn layers_are_taken_through_links_in_any_order_and_compression() {
    for (n, archive) in [old_form(true), gzip(&old_form(false)), zstd(&old_form(false))].iter().enumerate() {
        let host = Host::new();
        let loaded = load(&host, archive).unwrap();
        assert_eq!(loaded[0].1, [name("old:1"), name("older:2")], "{n}");
        let image = host.images.resolve("older:2").unwrap();
        assert_eq!((image.layers.len(), host.layers().len()), (4, 3), "{n}");
        let root = host.mount(&image);
        assert_eq!((root.read("etc/keep").as_str(), root.names("dir")), ("changed", vec!["c".to_owned()]), "{n}");
        assert_eq!(host.blobs().len(), 5, "three layers, a configuration and a manifest: {n}");
    }
}

#[test]
fn an_image_layout_keeps_its_manifest_and_may_be_of_another_platform() {
    let host = Host::new();
    let mut draft = Draft::new(&three_layers());
    draft.config["architecture"] = json!("s390x");
    let (manifest, blobs) = draft.finish();
    let (digest, kind) = (Digest::of(&manifest), "application/vnd.oci.image.manifest.v1+json");
    let platform = json!({"os": "linux", "architecture": "s390x"});
    let inner = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": kind, "digest": Digest::of("elsewhere"), "size": 3, "platform": {"os": "linux", "architecture": "amd64"}},
        {"mediaType": kind, "digest": digest, "size": manifest.len(), "platform": platform},
    ]});
    let inner = inner.to_string();
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": Digest::of(&inner), "size": inner.len(), "annotations": {"org.opencontainers.image.ref.name": "far/away:1"}}]});
    let mut archive = Archive::new().file("index.json", index.to_string());
    archive = archive.file(&format!("blobs/sha256/{}", Digest::of(&inner).hex()), &inner);
    archive = archive.file(&format!("blobs/sha256/{}", digest.hex()), &manifest);
    for (digest, blob) in &blobs {
        archive = archive.file(&format!("blobs/sha256/{}", digest.hex()), blob);
    }
    let archive = archive.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#).finish();
    load(&host, &archive).unwrap();
    let image = host.images.resolve("far/away:1").unwrap();
    assert_eq!((image.manifest, image.config.architecture().to_string()), (digest, "s390x".to_owned()));
    let amd64: Platform = "linux/amd64".parse().unwrap();
    let error = host.images.save(&["far/away:1".to_owned()], std::slice::from_ref(&amd64)).err().unwrap();
    assert!(matches!(&error, ImageError::Platform(_)), "{error}");
    let _whole = host.images.save(&["far/away:1".to_owned()], &["linux/s390x".parse().unwrap()]).unwrap();
    let other = Host::new();
    let error = other.images.load(&archive[..], &[amd64]).unwrap_err();
    assert!(error.to_string().contains("platform"), "{error}");
    other.assert_empty();
}

/// Archives that no honest program writes, each with a word of why it is refused.
fn hostile() -> BTreeMap<&'static str, (Vec<u8>, &'static str)> {
    let layer = tar(&[("file", "x")]);
    let config = config(std::slice::from_ref(&layer));
    let good = || Archive::new().file("c.json", &config).file("l.tar", &layer);
    let manifest = |tags: &[&str], config: &str, layer: &str| json!([item(config, tags, &[layer])]).to_string();
    let right = manifest(&["a:1"], "c.json", "l.tar");
    let whole = || good().file("manifest.json", &right);
    let blob = format!("blobs/sha256/{}", Digest::of("something else").hex());
    let two = json!([item("c.json", &["a:1"], &["l.tar"]), item("c2.json", &["b:1"], &["l.tar"])]).to_string();
    let wrong = self::config(&[tar(&[("file", "y")])]);
    let layout = |version: &str| json!({"imageLayoutVersion": version}).to_string();
    let truncated = whole().finish();
    let cut = truncated.len() - 1500;
    BTreeMap::from([
        ("a member twice", (whole().file("l.tar", "again").finish(), "twice")),
        ("a document twice", (whole().file("./manifest.json", "[]").finish(), "twice")),
        ("an absolute name", (whole().file("/etc/evil", "x").finish(), "absolute")),
        ("a name that leads upwards", (whole().file("a/../../evil", "x").finish(), "..")),
        ("a link that leads out", (whole().link(Member::Symlink, "a/x", "../../etc/passwd").finish(), "leads out")),
        ("an absolute link", (whole().link(Member::Symlink, "x", "/etc/passwd").finish(), "leads out")),
        ("a hard link that leads out", (whole().link(Member::HardLink, "a/x", "../y").finish(), "leads out")),
        ("a device", (whole().other(Member::CharDevice, "null").finish(), "neither")),
        ("a pipe", (whole().other(Member::Fifo, "pipe").finish(), "neither")),
        ("a blob of another digest", (whole().file(&blob, "x").finish(), "digest")),
        ("a blob without a digest", (whole().file("blobs/sha256/zz", "x").finish(), "digest")),
        ("no image", (Archive::new().file("etc/passwd", "x").finish(), "no image")),
        ("an empty list", (good().file("manifest.json", "[]").finish(), "no image")),
        ("a missing layer", (good().file("manifest.json", manifest(&[], "c.json", "m.tar")).finish(), "m.tar")),
        (
            "a missing configuration",
            (good().file("manifest.json", manifest(&[], "d.json", "l.tar")).finish(), "d.json"),
        ),
        ("a layer outside", (good().file("manifest.json", manifest(&[], "c.json", "../../l.tar")).finish(), "l.tar")),
        (
            "a loop of links",
            (
                good()
                    .link(Member::Symlink, "m.tar", "n.tar")
                    .link(Member::Symlink, "n.tar", "m.tar")
                    .file("manifest.json", manifest(&[], "c.json", "m.tar"))
                    .finish(),
                "m.tar",
            ),
        ),
        ("a name that is none", (good().file("manifest.json", manifest(&["A B"], "c.json", "l.tar")).finish(), "A B")),
        (
            "a digest as a name",
            (
                good()
                    .file("manifest.json", manifest(&[&format!("a@{}", Digest::of("x"))], "c.json", "l.tar"))
                    .finish(),
                "name",
            ),
        ),
        (
            "a document too many layers",
            (
                good().file("manifest.json", json!([item("c.json", &[], &["l.tar", "l.tar"])]).to_string()).finish(),
                "number of layers",
            ),
        ),
        (
            "another layer's diff id",
            (
                Archive::new().file("c.json", &wrong).file("l.tar", &layer).file("manifest.json", &right).finish(),
                "sha256",
            ),
        ),
        ("a good image and a bad one", (good().file("c2.json", &wrong).file("manifest.json", two).finish(), "sha256")),
        ("no JSON", (good().file("manifest.json", "{").finish(), "manifest.json")),
        (
            "a layout to come",
            (
                Archive::new().file("oci-layout", layout("9.9.9")).file("index.json", r#"{"manifests":[]}"#).finish(),
                "9.9.9",
            ),
        ),
        (
            "an index of what is not there",
            (
                Archive::new()
                    .file("oci-layout", layout("1.0.0"))
                    .file(
                        "index.json",
                        json!({"manifests": [
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of("x"), "size": 1}]})
                        .to_string(),
                    )
                    .finish(),
                "lacks",
            ),
        ),
        (
            "a document without end",
            (good().file("manifest.json", " ".repeat((8 << 20) + 1)).finish(), "bytes in a document"),
        ),
        ("a cut-off archive", (truncated[..cut].to_vec(), "truncated")),
        ("text", (b"this is no archive at all".repeat(100), "not valid")),
        (
            "an archive before manifests",
            (Archive::new().file("repositories", "{}").file("1/layer.tar", &layer).finish(), "1.10"),
        ),
    ])
}

#[test]
fn what_lies_is_refused_and_nothing_of_it_stays() {
    let host = Host::new();
    for (what, (archive, why)) in hostile() {
        for packed in [archive.clone(), gzip(&archive)] {
            let error = load(&host, &packed).err().unwrap_or_else(|| panic!("{what} was believed"));
            let text = errors::chain(&error);
            assert!(text.contains(why), "{what}: {text}");
            assert!(
                matches!(error.kind(), Kind::Corrupt | Kind::Unsupported | Kind::InvalidArgument),
                "{what}: {text}"
            );
            host.assert_empty();
        }
    }
}

#[test]
fn a_refused_archive_takes_nothing_along_that_was_here() {
    let host = Host::new();
    load(&host, &old_form(true)).unwrap();
    let before = (host.blobs(), host.layers(), host.images.list().unwrap());
    let bad = Archive::new().file("1/layer.tar", &three_layers()[0]).file("manifest.json", "x").finish();
    let error = load(&host, &bad).unwrap_err();
    assert!(matches!(error, ImageError::Load(LoadError::Document { .. })), "{error}");
    assert_eq!((host.blobs(), host.layers(), host.images.list().unwrap()), before);
}

#[test]
fn a_layer_that_is_here_does_not_vouch_for_another_blob() {
    let layer = tar(&[("file", "x")]);
    let config = config(std::slice::from_ref(&layer));
    let manifest = json!([item("c.json", &["a:1"], &["l.tar"])]).to_string();
    let archive = |blob: &[u8]| {
        Archive::new().file("c.json", &config).file("l.tar", blob).file("manifest.json", &manifest).finish()
    };
    let host = Host::new();
    load(&host, &archive(&layer)).unwrap();
    let before = (host.blobs(), host.images.list().unwrap());
    let other = tar(&[("file", "another")]);
    for blob in [other.clone(), gzip(&other), zstd(&other), b"no archive".to_vec()] {
        let error = load(&host, &archive(&blob)).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert_eq!((host.blobs(), host.images.list().unwrap()), before);
    }
    load(&host, &archive(&gzip(&layer))).unwrap();
    assert_eq!(host.layers().len(), 1, "the same layer, packed otherwise");
}

#[test]
fn a_blob_that_changed_on_disk_is_not_saved() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = Host::new();
    let image = host.images.import(&tar(&[("file", "x")])[..], &name("a:1"), &[]).unwrap();
    let layer = host.layout().join("blobs/sha256").join(image.layers[0].hex());
    std::fs::set_permissions(&layer, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&layer, tar(&[("file", "y")])).unwrap();
    let error = host.images.save(&["a:1".to_owned()], &[]).unwrap().write(std::io::sink()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}
