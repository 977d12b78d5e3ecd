// SPDX-License-Identifier: Apache-2.0
//! Pushing to Debian's registry, and reading there with skopeo what was pushed.

use errors::{Classify as _, Kind};
use image::{Compression, ImageError, PushOptions, Quiet, Status};
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
        let options = PushOptions { compression: Some(compression) };
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
