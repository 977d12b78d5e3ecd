// SPDX-License-Identifier: Apache-2.0
//! Pulls that go well, and pulls that are given up half-way.

use std::time::{Duration, Instant};

use errors::{Classify as _, Kind};
use image::{ImageError, Platform, Quiet, Status};
use oci::Algorithm;
use serde_json::json;

use crate::fixture::{Draft, Host, Recorder, architecture, name, noise, tar, three_layers};
use crate::tiny_registry::TinyRegistry;

#[tokio::test]
async fn an_image_is_found_by_all_its_names_after_a_pull() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let image_name = registry.push("a/b", &Draft::new(&three_layers()));
    let recorder = Recorder::default();
    let image = host.images.pull(&image_name, None, &recorder).await.unwrap();
    assert_eq!(recorder.count(Status::Done), 3);
    assert_eq!(recorder.count(Status::Waiting), 3);
    assert!(recorder.has_download());
    assert_eq!(image.names, std::slice::from_ref(&image_name));
    assert_eq!(image.created.as_deref(), Some("2024-05-06T07:08:09Z"));
    assert_eq!(image.config.config().as_ref().unwrap().cmd().as_deref().unwrap(), ["/bin/true"]);
    assert_eq!(image.size, 4 + 1 + 1 + 1 + 1 + 7 + 1, "the bytes of all layers' files");
    let hex = image.id.hex();
    let untagged = image_name.to_string().replace(":latest", "");
    let by_digest = format!("{untagged}@{}", image.manifest);
    for text in [&image_name.to_string(), &untagged, &hex, &hex[..12], &format!("sha256:{hex}"), &by_digest] {
        assert_eq!(host.images.resolve(text).unwrap(), image, "{text}");
    }
    assert_eq!(image.repo_digests, [name(&by_digest)]);
    assert_eq!(host.images.list().unwrap(), std::slice::from_ref(&image));
    assert_eq!(host.reopened(None).resolve(&hex[..12]).unwrap(), image, "a later daemon knows it too");
}

#[tokio::test]
async fn what_is_here_is_not_fetched_again() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let image_name = registry.push("a", &Draft::new(&three_layers()));
    let first = host.images.pull(&image_name, None, &Quiet).await.unwrap();
    let before = registry.blob_requests();
    let recorder = Recorder::default();
    assert_eq!(host.images.pull(&image_name, None, &recorder).await.unwrap(), first);
    assert_eq!(registry.blob_requests(), before);
    assert_eq!((recorder.count(Status::Exists), recorder.count(Status::Done)), (3, 0));
}

#[tokio::test]
async fn pulls_at_the_same_time_share_the_work() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let layers = three_layers();
    let one = registry.push("one", &Draft::new(&layers));
    let mut other = Draft::new(&layers);
    other.config["config"]["Cmd"] = json!(["/other"]);
    let two = registry.push("two", &other);
    registry.slow_down(Duration::from_millis(100));
    let (a, b, c) = tokio::join!(
        host.images.pull(&one, None, &Quiet),
        host.images.pull(&two, None, &Quiet),
        host.images.pull(&one, None, &Quiet)
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a, c.unwrap());
    assert_eq!(a.layers, b.layers);
    // Three layers once; a configuration once or, for the image pulled twice, twice.
    assert!(registry.blob_requests() <= 3 + 3, "{}", registry.blob_requests());
    assert_eq!((host.layers().len(), host.blobs().len()), (3, 3 + 2 + 2));
}

#[tokio::test]
async fn the_build_for_this_host_is_taken_from_an_index() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let ours = Draft::new(&three_layers()[..1]);
    let mut theirs = Draft::new(&three_layers()[..2]);
    theirs.config["architecture"] = json!("riscv64");
    let mut entries = Vec::new();
    for (draft, architecture) in [(&theirs, "riscv64"), (&ours, architecture())] {
        registry.push("multi", draft);
        let (manifest, _) = draft.finish();
        entries.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": oci::Digest::of(&manifest),
            "size": manifest.len(), "platform": {"os": "linux", "architecture": architecture}
        }));
    }
    let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
    registry.put_manifest("multi", "latest", "application/vnd.oci.image.index.v1+json", index.as_bytes());
    let image_name = registry.name("multi");
    let image = host.images.pull(&image_name, None, &Quiet).await.unwrap();
    assert_eq!(image.layers.len(), 1);
    let untagged = image_name.to_string().replace(":latest", "");
    let by_index = format!("{untagged}@{}", oci::Digest::of(&index));
    assert_eq!(host.images.resolve(&by_index).unwrap(), image, "the index's digest means what it led to");
    let pinned = host.images.pull(&name(&by_index), None, &Quiet).await.unwrap();
    assert_eq!((pinned.id, pinned.names.len()), (image.id, 2), "pulled by digest it has that name as well");
    let wanted: Platform = "linux/riscv64".parse().unwrap();
    let foreign = host.images.pull(&image_name, Some(wanted), &Quiet).await.unwrap();
    assert_eq!((foreign.layers.len(), foreign.config.architecture().to_string().as_str()), (2, "riscv64"));
    let wanted: Platform = "linux/s390x".parse().unwrap();
    let error = host.images.pull(&image_name, Some(wanted), &Quiet).await.unwrap_err();
    assert!(matches!(error, ImageError::Platform(_)), "{error}");
}

#[tokio::test]
async fn an_image_whose_blobs_are_named_by_sha512_is_an_image_like_any_other() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let draft = Draft::named_by(Algorithm::Sha512, &three_layers());
    let tagged = registry.push("long", &draft);
    let manifest = Algorithm::Sha512.digest(draft.finish().0);
    let pinned = name(&format!("{}@{manifest}", tagged.to_string().replace(":latest", "")));
    let image = host.images.pull(&pinned, None, &Quiet).await.unwrap();
    assert_eq!((image.manifest, image.id.algorithm()), (manifest, Algorithm::Sha512));
    let mut algorithms: Vec<_> = host.blobs().iter().map(oci::Digest::algorithm).collect();
    algorithms.dedup();
    assert_eq!((host.blobs().len(), algorithms), (5, vec![Algorithm::Sha512]), "nothing is stored under another name");
    let hex = image.id.hex();
    for text in [&pinned.to_string(), &hex, &hex[..12], &format!("sha512:{}", &hex[..20])] {
        assert_eq!(host.images.resolve(text).unwrap(), image, "{text}");
    }
    assert!(host.images.resolve(&format!("sha256:{}", &hex[..20])).is_err());
    assert_eq!(host.mount(&image).read("etc/keep"), "changed");
    assert!(host.images.check().unwrap().problems.is_empty());
    // One byte of one layer is another.
    let broken = Draft::named_by(Algorithm::Sha512, &[tar(&[("other", "file")])]);
    let mut wrong = broken.blobs[&broken.layer(0)].clone();
    *wrong.last_mut().unwrap() ^= 1;
    let broken_name = registry.push("broken", &broken);
    registry.put_blob("broken", broken.layer(0), wrong);
    let error = host.images.pull(&broken_name, None, &Quiet).await.unwrap_err();
    assert!(matches!(&error, ImageError::Blob { digest, .. } if *digest == broken.layer(0)), "{error}");
    assert_eq!((host.blobs().len(), host.layers().len()), (5, 3));
    host.images.remove(&pinned.to_string(), false, &|_| None).unwrap();
    host.assert_empty();
}

#[tokio::test]
async fn one_layer_may_stand_twice_in_an_image() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let mut draft = Draft::new(&three_layers()[..1]);
    for list in [&mut draft.manifest["layers"], &mut draft.config["rootfs"]["diff_ids"]] {
        let first = list[0].clone();
        list.as_array_mut().unwrap().push(first);
    }
    let image = host.images.pull(&registry.push("twice", &draft), None, &Quiet).await.unwrap();
    assert_eq!((image.layers.len(), host.layers().len()), (2, 1));
}

/// A daemon's runtime has several threads.
fn may_move_between_threads(_: &impl Send) {}

#[tokio::test]
async fn a_pull_that_is_given_up_leaves_nothing() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let layers = [tar(&[("small", "x")]), tar(&[("large", &noise(400_000, 3))])];
    let draft = Draft::new(&layers);
    registry.stall(draft.layer(1));
    let image_name = registry.push("a", &draft);
    let pull = host.images.pull(&image_name, None, &Quiet);
    may_move_between_threads(&pull);
    assert!(tokio::time::timeout(Duration::from_millis(700), pull).await.is_err(), "it stalls");
    // Its threads end a moment later.
    let started = Instant::now();
    while !host.blobs().is_empty() || !host.layers().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10), "{:?} {:?}", host.blobs(), host.layers());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    host.assert_empty();
}

#[tokio::test]
async fn a_failed_pull_takes_nothing_from_a_good_one() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let layers = three_layers();
    let good = registry.push("good", &Draft::new(&layers[..2]));
    let mut bad = Draft::new(&layers);
    bad.config["rootfs"]["diff_ids"][2] = json!(oci::Digest::of("other"));
    let bad = registry.push("bad", &bad);
    registry.slow_down(Duration::from_millis(50));
    let (good, bad) = tokio::join!(host.images.pull(&good, None, &Quiet), host.images.pull(&bad, None, &Quiet));
    let good = good.unwrap();
    assert_eq!(bad.unwrap_err().kind(), Kind::Corrupt);
    assert_eq!((host.layers().len(), host.blobs().len()), (2, 4));
    assert_eq!(host.mount(&good).names("dir"), ["c"]);
}

#[tokio::test]
async fn a_tag_that_moves_leaves_the_old_image_without_a_name() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let image_name = registry.push("a", &Draft::new(&three_layers()[..1]));
    let old = host.images.pull(&image_name, None, &Quiet).await.unwrap();
    registry.push("a", &Draft::new(&three_layers()[..2]));
    let new = host.images.pull(&image_name, None, &Quiet).await.unwrap();
    assert_ne!(old.id, new.id);
    assert_eq!(host.images.resolve(&old.id.to_string()).unwrap().names, []);
    let list = host.images.list().unwrap();
    assert_eq!(list.iter().map(|image| image.id).collect::<Vec<_>>(), [new.id, old.id]);
}
