// SPDX-License-Identifier: Apache-2.0
//! Leases, and the collection that makes room on a disk that gets full.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use errors::{Classify as _, Kind};
use image::{Collected, Filters, Gone, Image, ImageError, ImageUser, Images, LeaseId, Quiet, Removed};
use oci::Digest;

use crate::fixture::{Draft, Host, Recorder, name, noise, tar};
use crate::tiny_registry::TinyRegistry;

fn unused(_: &Digest) -> Option<ImageUser> {
    None
}

/// An image of this many bytes, called `untagged:1`, until the next one is.
fn import(host: &Host, seed: u64) -> Image {
    let content = noise(100_000, seed);
    host.images.import(&tar(&[("file", &content)])[..], &name("untagged:1"), &[]).unwrap()
}

fn id(text: &str) -> LeaseId {
    text.parse().unwrap()
}

fn lease(images: &Images, name: &str) {
    images.create_lease(id(name), Duration::from_secs(3600), BTreeMap::new()).unwrap();
}

/// Makes room on a disk of which nothing is free, until so many bytes have come back.
fn make_room(host: &Host, goal: u64, in_use: &dyn Fn(&Digest) -> Option<ImageUser>) -> Vec<Gone> {
    let mut gone = Vec::new();
    let freed = host.images.make_room(goal, &|| Ok(0), in_use, &mut |collected| gone.push(collected)).unwrap();
    assert_eq!(freed, gone.iter().map(|collected| collected.bytes).sum::<u64>());
    gone.into_iter().map(|Collected { what, .. }| what).collect()
}

#[test]
fn what_has_no_name_goes_in_order_and_no_more_than_is_needed() {
    let host = Host::new();
    let images: Vec<Image> = (0..4).map(|n| import(&host, n)).collect();
    host.images.tag(&images[3].id.to_string(), &name("tagged:1")).unwrap();
    let orphan = host.content.put(&[1; 50_000]).unwrap();
    // Half a blob of an interrupted pull, and half of one that goes on.
    let (left, coming) = (Digest::of("left"), Digest::of("coming"));
    let mut writer = host.content.resume(left, 4 << 20).unwrap();
    writer.append(&[7; 2 << 20]).unwrap();
    drop(writer);
    let mut writer = host.content.resume(coming, 4 << 20).unwrap();
    writer.append(&[8; 2 << 20]).unwrap();

    assert_eq!(make_room(&host, 0, &unused), []);
    assert_eq!(make_room(&host, 1, &unused), [Gone::Interrupted]);
    let second = |id: &Digest| (*id == images[1].id).then(|| ImageUser { container: "c".into(), running: false });
    assert_eq!(make_room(&host, 60_000, &second), [Gone::Unreferenced(orphan), Gone::Image(images[0].id)]);
    assert_eq!(host.images.resolve(&images[2].id.to_string()).unwrap().id, images[2].id, "enough was free");
    assert_eq!(make_room(&host, u64::MAX, &second), [Gone::Image(images[2].id)], "all that may go");
    assert_eq!(host.mount(&images[1]).names(""), ["file"], "a container needs it");
    assert_eq!(make_room(&host, u64::MAX, &unused), [Gone::Image(images[1].id)]);
    assert_eq!(host.images.list().unwrap().len(), 1, "what has a name stays");
    assert_eq!(host.mount(&images[3]).names(""), ["file"]);
    drop(writer);
    assert_eq!(host.content.resume(coming, 4 << 20).unwrap().written(), 2 << 20, "nobody has touched it");
    assert_eq!(make_room(&host, u64::MAX, &unused), [Gone::Interrupted]);
}

#[test]
fn others_make_room_too() {
    let host = Host::new();
    (0..3).for_each(|n| drop(import(&host, n)));
    let asked = std::cell::Cell::new(0_u64);
    let free = || {
        asked.set(asked.get() + 1);
        // Somebody removes a large file after the first image has gone.
        Ok(if asked.get() > 2 { 1 << 40 } else { 0 })
    };
    let mut gone = 0;
    host.images.make_room(1 << 40, &free, &unused, &mut |_| gone += 1).unwrap();
    assert_eq!(gone, 1);
    let failing = || Err(std::io::ErrorKind::PermissionDenied.into());
    let error = host.images.make_room(1, &failing, &unused, &mut |_| gone += 1).unwrap_err();
    assert!(matches!(error, ImageError::FreeSpace(_)) && gone == 1, "{error}");
}

#[test]
fn what_images_share_is_kept_for_the_one_that_stays() {
    let host = Host::new();
    let registry = TinyRegistry::start();
    let shared = tar(&[("shared", &noise(200_000, 5))]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pull = |own: &str| {
        let image = registry.push("a", &Draft::new(&[shared.clone(), tar(&[(own, own)])]));
        runtime.block_on(host.images.pull(&image, None, &Quiet)).unwrap()
    };
    let (old, new) = (pull("old"), pull("new"));
    assert_eq!(make_room(&host, u64::MAX, &unused), [Gone::Image(old.id)]);
    assert_eq!(host.mount(&new).names(""), ["new", "shared"]);
    assert!(host.images.check().unwrap().problems.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_takes_long_loses_nothing_to_prune_or_collection() {
    let (host, registry) = (Arc::new(Host::new()), TinyRegistry::start());
    let layers: Vec<Vec<u8>> = (0..8).map(|n| tar(&[(&format!("file-{n}"), &noise(50_000, n))])).collect();
    let image_name = registry.push("slow", &Draft::new(&layers));
    registry.slow_down(Duration::from_millis(150));
    let (puller, wanted) = (Arc::clone(&host), image_name.clone());
    let pull = tokio::spawn(async move { puller.images.pull(&wanted, None, &Recorder::default()).await });
    let mut seen = 0;
    while !pull.is_finished() {
        let host = Arc::clone(&host);
        seen += tokio::task::spawn_blocking(move || {
            let half_here = host.images.list().unwrap().is_empty() && host.layers().len() > 1;
            assert_eq!(host.images.prune(&Filters::default(), &unused).unwrap().removed, []);
            assert_eq!(make_room(&host, u64::MAX, &unused), []);
            u32::from(half_here)
        })
        .await
        .unwrap();
    }
    let image = pull.await.unwrap().unwrap();
    assert!(seen > 0, "it never met a pull that had some layers and no record");
    assert_eq!(host.mount(&image).names("").len(), 8);
    assert!(host.images.check().unwrap().problems.is_empty());
}

#[test]
fn a_held_image_stays_until_its_container_can_be_seen() {
    let host = Host::new();
    let image = import(&host, 1);
    host.images.remove("untagged:1", true, &|_| Some(ImageUser { container: "c".into(), running: false })).unwrap();
    let text = image.id.to_string();
    let (found, held) = host.images.hold(&text).unwrap();
    assert_eq!(found.id, image.id);
    assert_eq!(make_room(&host, u64::MAX, &unused), []);
    assert_eq!(host.images.prune(&Filters::default(), &unused).unwrap().removed, []);
    let error = host.images.remove(&text, false, &unused).unwrap_err();
    assert!(error.to_string().contains("being created"), "{error}");
    drop(held);
    assert_eq!(make_room(&host, u64::MAX, &unused), [Gone::Image(image.id)]);
    assert!(matches!(host.images.hold(&text), Err(ImageError::NotFound { .. })));
}

#[test]
fn a_new_image_that_never_had_a_name_is_left_to_who_brought_it() {
    let host = Host::new();
    let archive = tar(&[("file", "x")]);
    let image = host.images.import_as(&archive[..], &image::Import::default()).unwrap();
    assert_eq!(make_room(&host, u64::MAX, &unused), []);
    host.images.tag(&image.id.to_string(), &name("a:1")).unwrap();
    import(&host, 1);
    host.images.tag("untagged:1", &name("a:1")).unwrap();
    assert_eq!(make_room(&host, u64::MAX, &unused), [Gone::Image(image.id)], "it had its name");
}

#[test]
fn a_lease_keeps_an_image_without_names() {
    let host = Host::new();
    let image = import(&host, 1);
    lease(&host.images, "l");
    let leased = host.images.add_to_lease(&id("l"), "untagged:1").unwrap();
    assert_eq!(leased.resources.len(), 1);
    let images = host.reopened(None);
    assert_eq!(images.leases().unwrap(), [leased], "it outlives the daemon");
    assert_eq!(images.remove("untagged:1", false, &unused).unwrap(), [Removed::Untagged(name("untagged:1"))]);
    let error = images.remove(&image.id.to_string(), true, &unused).unwrap_err();
    assert!(matches!(error, ImageError::Leased { .. }) && error.kind() == Kind::Conflict, "{error}");
    for dangling in [None, Some(false)] {
        assert_eq!(images.prune(&Filters { dangling, ..Filters::default() }, &unused).unwrap().removed, []);
    }
    assert_eq!(make_room(&host, u64::MAX, &unused), []);
    images.collect(&unused).unwrap();
    assert_eq!(images.usage(&|_| false).unwrap().reclaimable, 0);
    assert_eq!(host.mount(&image).names(""), ["file"]);
    images.remove_lease(&id("l")).unwrap();
    assert_eq!(host.images.resolve(&image.id.to_string()).unwrap().id, image.id, "as an image without a name");
    assert_eq!(images.prune(&Filters::default(), &unused).unwrap().removed, [Removed::Deleted(image.id)]);
    host.assert_empty();
}

#[test]
fn a_lease_keeps_a_blob_when_its_image_goes() {
    let host = Host::new();
    import(&host, 1);
    let layer = host.layers()[0];
    assert!(host.content.contains(&layer), "the archive is the layer");
    lease(&host.images, "l");
    host.images.add_to_lease(&id("l"), &layer.to_string()).unwrap();
    host.images.remove("untagged:1", false, &unused).unwrap();
    host.images.collect(&unused).unwrap();
    assert_eq!(make_room(&host, u64::MAX, &unused), []);
    assert_eq!((host.blobs(), host.layers()), (vec![layer], vec![layer]));
    host.images.remove_lease(&id("l")).unwrap();
    host.assert_empty();
}

#[test]
fn a_lease_that_has_ended_protects_nothing() {
    let host = Host::new();
    let image = import(&host, 1);
    host.images.create_lease(id("short"), Duration::from_secs(1), BTreeMap::new()).unwrap();
    host.images.add_to_lease(&id("short"), &image.id.to_string()).unwrap();
    host.images.remove("untagged:1", false, &unused).unwrap();
    assert_eq!(make_room(&host, u64::MAX, &unused), []);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(host.images.leases().unwrap(), []);
    let late = host.images.add_to_lease(&id("short"), &image.id.to_string());
    assert!(matches!(late, Err(ImageError::NoLease { .. })));
    assert_eq!(make_room(&host, u64::MAX, &unused), [Gone::Image(image.id)]);
    host.assert_empty();
    let gone = host.images.remove_lease(&id("short")).unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound, "the collection has forgotten it");
}

#[test]
fn what_cannot_be_a_lease_is_refused() {
    let host = Host::new();
    lease(&host.images, "l");
    let again = host.images.create_lease(id("l"), Duration::from_secs(1), BTreeMap::new()).unwrap_err();
    assert_eq!(again.kind(), Kind::Conflict);
    for duration in [Duration::ZERO, Duration::from_secs(400 * 24 * 3600), Duration::MAX] {
        let error = host.images.create_lease(id("m"), duration, BTreeMap::new()).unwrap_err();
        assert!(matches!(error, ImageError::LeaseDuration { .. }) && error.kind() == Kind::InvalidArgument);
    }
    let nothing = Digest::of("nothing").to_string();
    for what in ["nothing", nothing.as_str(), ""] {
        assert!(host.images.add_to_lease(&id("l"), what).is_err(), "{what:?}");
    }
    assert!(matches!(host.images.add_to_lease(&id("other"), "a"), Err(ImageError::NotFound { .. })));
    assert_eq!(host.images.leases().unwrap()[0].resources.len(), 0);
}

#[test]
fn what_nobody_has_used_for_the_longest_time_goes_first() {
    let host = Host::new();
    let images: Vec<Image> = (0..4).map(|n| import(&host, n)).collect();
    host.images.tag(&images[3].id.to_string(), &name("tagged:1")).unwrap();
    // A container is made of the first one, and a name moves from the second one to the last.
    drop(host.images.hold(&images[0].id.to_string()).unwrap());
    for image in [&images[1], &images[3]] {
        host.images.tag(&image.id.to_string(), &name("moving:1")).unwrap();
    }
    host.images.write_uses().unwrap();
    let expected = [2, 0, 1].map(|number| Gone::Image(images[number].id));
    assert_eq!(make_room(&host, u64::MAX, &unused), expected);
}

#[test]
fn what_is_removed_during_a_check_is_not_broken() {
    let host = Host::new();
    let archives: Vec<Vec<u8>> = (0..8).map(|seed| tar(&[("file", &noise(1000, seed))])).collect();
    std::thread::scope(|scope| {
        let coming_and_going = scope.spawn(|| {
            for (round, archive) in archives.iter().cycle().take(60).enumerate() {
                let name = name(&format!("passing:{}", round % archives.len()));
                host.images.import(&archive[..], &name, &[]).unwrap();
                host.images.remove(&name.to_string(), true, &unused).unwrap();
            }
        });
        while !coming_and_going.is_finished() {
            let problems = host.images.check().unwrap().problems;
            assert_eq!(problems, []);
        }
    });
}
