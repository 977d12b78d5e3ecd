// SPDX-License-Identifier: Apache-2.0
//! Pushing to Debian's registry, and reading there with skopeo what was pushed.

use errors::{Classify as _, Kind};
use image::{Compression, ImageError, Packing, PushOptions, Quiet, Status};
use oci::{Digest, ImageRef};
use serde_json::Value;

use crate::fixture::{Draft, Host, Recorder, name, noise, tar, three_layers};
use crate::peers::{Registry, skopeo};

fn raw(image: &ImageRef) -> Value {
    let target = format!("docker://{}", image.canonical());
    serde_json::from_str(&skopeo(&["inspect", "--raw", "--tls-verify=false", &target])).unwrap()
}

fn layer_digests(manifest: &Value) -> Vec<Digest> {
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["digest"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn an_image_is_pushed_byte_for_byte_and_only_once() {
    let (host, registry) = (Host::new(), Registry::start());
    let pulled = registry.push("original", &Draft::new(&three_layers()));
    let image = host.images.pull(&pulled, None, &Quiet).await.unwrap();
    // A registry that has never seen it.
    let other = Registry::start();
    let target = other.image("a/copy:v1");
    host.images.tag(&pulled.to_string(), &target).unwrap();
    let recorder = Recorder::default();
    let pushed = host.images.push(&target, PushOptions::default(), &recorder).await.unwrap();
    assert_eq!(pushed.digest, image.manifest);
    assert_eq!((recorder.count(Status::Done), recorder.count(Status::Exists)), (3, 0));
    assert_eq!(raw(&target), raw(&pulled));
    let again = Recorder::default();
    assert_eq!(host.images.push(&target, PushOptions::default(), &again).await.unwrap(), pushed);
    assert_eq!((again.count(Status::Done), again.count(Status::Exists)), (0, 3));
    let image = host.images.resolve(&target.to_string()).unwrap();
    assert!(image.repo_digests.contains(&other.image(&format!("a/copy@{}", pushed.digest))), "{image:?}");
    let elsewhere = Host::new();
    assert_eq!(elsewhere.images.pull(&target, None, &Quiet).await.unwrap().id, image.id);
}

#[tokio::test]
async fn what_another_repository_of_the_registry_has_is_mounted() {
    let (host, registry) = (Host::new(), Registry::start());
    let pulled = registry.push("original", &Draft::new(&three_layers()));
    host.images.pull(&pulled, None, &Quiet).await.unwrap();
    let target = registry.image("new/name:latest");
    host.images.tag(&pulled.to_string(), &target).unwrap();
    let recorder = Recorder::default();
    host.images.push(&target, PushOptions::default(), &recorder).await.unwrap();
    assert_eq!((recorder.count(Status::Mounted), recorder.count(Status::Done)), (3, 0));
    assert_eq!(raw(&target), raw(&pulled));
}

#[tokio::test]
async fn another_compression_makes_other_blobs_of_the_same_image() {
    let (host, registry) = (Host::new(), Registry::start());
    let layers =
        [tar(&[("big", &noise(3_000_000, 1)), ("small", "x")]), tar(&[("other", "y")]), tar(&[("third", "z")])];
    let pulled = registry.push("original", &Draft::new(&layers));
    let image = host.images.pull(&pulled, None, &Quiet).await.unwrap();
    let blobs = host.blobs();
    for (compression, media_type) in [
        (Compression::Zstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
        (Compression::Gzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
    ] {
        let target = registry.image(&format!("packed:{compression:?}").to_lowercase());
        host.images.tag(&pulled.to_string(), &target).unwrap();
        let options = PushOptions { packing: Packing::As(compression) };
        let pushed = host.images.push(&target, options, &Quiet).await.unwrap();
        let manifest = raw(&target);
        for layer in manifest["layers"].as_array().unwrap() {
            assert_eq!(layer["mediaType"], media_type);
        }
        let (before, after) = (raw(&pulled), layer_digests(&manifest));
        for (layer, digest) in before["layers"].as_array().unwrap().iter().zip(layer_digests(&before)) {
            let left_alone = layer["mediaType"] == media_type;
            assert_eq!(after.contains(&digest), left_alone, "{layer} {compression:?}");
        }
        assert_eq!(host.blobs(), blobs, "what was made for the push is gone");
        // Both skopeo and this host unpack it to the same diff IDs.
        let dir = tempfile::tempdir().unwrap();
        let source = format!("docker://{}", target.canonical());
        skopeo(&["copy", "--src-tls-verify=false", &source, &format!("dir:{}", dir.path().display())]);
        let elsewhere = Host::new();
        let found = elsewhere.images.pull(&target, None, &Quiet).await.unwrap();
        assert_eq!((found.id, found.manifest), (image.id, pushed.digest));
        assert_eq!(elsewhere.mount(&found).read("big"), noise(3_000_000, 1));
    }
}

#[tokio::test]
async fn what_never_was_in_a_registry_is_compressed_and_only_once() {
    let (host, registry) = (Host::new(), Registry::start());
    let target = registry.image("made:v1");
    let text = "the same line again and again\n".repeat(200_000);
    let image = host.images.import(&tar(&[("text", &text)])[..], &target, &[]).unwrap();
    let blobs = host.blobs();
    let push = async |target: &ImageRef, packing| {
        let recorder = Recorder::default();
        let pushed = host.images.push(target, PushOptions { packing }, &recorder).await.unwrap();
        let counts = [Status::Compressing, Status::Done, Status::Exists, Status::Mounted];
        (pushed, counts.map(|status| recorder.count(status)))
    };
    let (pushed, counts) = push(&target, Packing::Usual).await;
    assert_eq!(counts, [1, 1, 0, 0]);
    let layer = raw(&target)["layers"][0].clone();
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert!(layer["size"].as_u64().unwrap() < text.len() as u64 / 20, "{layer}");
    assert_eq!(host.blobs(), blobs, "what was made for the push is gone");
    // Known by now: not compressed again, neither for this name nor for another in the registry.
    assert_eq!(push(&target, Packing::Usual).await, (pushed, [0, 0, 1, 0]));
    let other = registry.image("other/name:v2");
    host.images.tag(&target.to_string(), &other).unwrap();
    assert_eq!(push(&other, Packing::Usual).await, (pushed, [0, 0, 0, 1]));
    // A registry that does not have it makes it be compressed again, to the same bytes.
    let second = Registry::start();
    let elsewhere = second.image("made:v1");
    host.images.tag(&target.to_string(), &elsewhere).unwrap();
    assert_eq!(push(&elsewhere, Packing::Usual).await, (pushed, [1, 1, 0, 0]));
    // Another compression than what is known is made.
    let (zstd, counts) = push(&target, Packing::As(Compression::Zstd)).await;
    assert_eq!((counts, zstd == pushed), ([1, 1, 0, 0], false));
    assert_eq!(push(&target, Packing::As(Compression::Zstd)).await, (zstd, [0, 0, 1, 0]));
    let (kept, counts) = push(&target, Packing::Keep).await;
    assert_eq!((kept.digest, counts), (image.manifest, [0, 1, 0, 0]));
    let puller = Host::new();
    let found = puller.images.pull(&other, None, &Quiet).await.unwrap();
    assert_eq!((found.id, found.manifest), (image.id, pushed.digest));
    assert_eq!(puller.mount(&found).read("text"), text);
}

#[tokio::test]
async fn all_tags_of_a_repository_are_found() {
    let host = Host::new();
    for tag in ["b", "a"] {
        host.images.import(&tar(&[("x", tag)])[..], &name(&format!("r.example/x:{tag}")), &[]).unwrap();
    }
    host.images.import(&tar(&[("x", "")])[..], &name("r.example/y:c"), &[]).unwrap();
    let tags = host.images.tags(&name("r.example/x")).unwrap();
    assert_eq!(tags, [name("r.example/x:a"), name("r.example/x:b")]);
    assert_eq!(host.images.tags(&name("r.example/z")).unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn what_cannot_be_pushed_is_said_clearly() {
    let (host, registry) = (Host::new(), Registry::start());
    let target = registry.image("broken:v1");
    let push = async |name: &ImageRef| host.images.push(name, PushOptions::default(), &Quiet).await.unwrap_err();
    assert!(matches!(push(&target).await, ImageError::NotFound { .. }));
    let image = host.images.import(&tar(&[("x", "y")])[..], &target, &[]).unwrap();
    let pinned = registry.image(&format!("broken@{}", image.manifest));
    assert!(matches!(push(&pinned).await, ImageError::PushDigest { .. }));
    // The beginning of the id reads as a name, and no image has that name.
    let id = name(&image.id.hex()[..12]);
    assert!(matches!(push(&id).await, ImageError::NotFound { .. }));
    let manifest: Value = serde_json::from_slice(&host.content.read_blob(&image.manifest, 1 << 20).unwrap()).unwrap();
    let blob = layer_digests(&manifest)[0];
    host.content.remove(&blob).unwrap();
    let error = push(&target).await;
    assert!(matches!(error, ImageError::LayerGone { .. }) && error.kind() == Kind::NotFound, "{error}");
    assert!(error.to_string().contains(&blob.to_string()) && error.hint().unwrap().contains("corten pull"), "{error}");
}
