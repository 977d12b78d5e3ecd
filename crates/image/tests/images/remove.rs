// SPDX-License-Identifier: Apache-2.0
//! Removal, and what keeps an image.

use errors::{Classify as _, Kind};
use image::{ImageError, ImageUser, Quiet, Removed};
use oci::Digest;

use crate::fixture::{Draft, Host, name, tar, three_layers};
use crate::tiny_registry::TinyRegistry;

fn unused(_: &Digest) -> Option<ImageUser> {
    None
}

fn used_by(container: &str, running: bool) -> impl Fn(&Digest) -> Option<ImageUser> {
    let container = container.to_owned();
    move |_| Some(ImageUser { container: container.clone(), running })
}

fn import(host: &Host, tag: &str) -> image::Image {
    host.images.import(&tar(&[("file", tag)])[..], &name(tag), &[]).unwrap()
}

#[test]
fn the_last_name_takes_the_image_along() {
    let host = Host::new();
    let image = import(&host, "a:1");
    host.images.tag("a:1", &name("b:2")).unwrap();
    assert_eq!(host.images.remove("a:1", false, &used_by("web", true)).unwrap(), [Removed::Untagged(name("a:1"))]);
    assert_eq!(host.images.resolve("b:2").unwrap().id, image.id);
    let removed = host.images.remove("b:2", false, &unused).unwrap();
    assert_eq!(removed, [Removed::Untagged(name("b:2")), Removed::Deleted(image.id)]);
    host.assert_empty();
    assert!(matches!(host.images.remove("b:2", false, &unused), Err(ImageError::NotFound { .. })));
}

#[test]
fn an_id_stands_for_all_names() {
    let host = Host::new();
    let image = import(&host, "a:1");
    host.images.tag("a:1", &name("b:2")).unwrap();
    let id = image.id.short();
    let error = host.images.remove(&id, false, &unused).unwrap_err();
    assert!(matches!(error, ImageError::SeveralNames { count: 2, .. }) && error.kind() == Kind::Conflict, "{error}");
    let removed = host.images.remove(&id, true, &unused).unwrap();
    let names = [Removed::Untagged(name("a:1")), Removed::Untagged(name("b:2"))];
    assert_eq!(removed, [&names[..], &[Removed::Deleted(image.id)]].concat());
    host.assert_empty();
}

#[test]
fn a_container_keeps_its_image() {
    let host = Host::new();
    let image = import(&host, "a:1");
    for (force, running) in [(false, true), (true, true), (false, false)] {
        let error = host.images.remove("a:1", force, &used_by("web", running)).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.to_string().contains("web") && error.hint().unwrap().contains("web"), "{error}");
        assert_eq!(host.images.resolve("a:1").unwrap().id, image.id, "nothing was removed");
    }
    let removed = host.images.remove("a:1", true, &used_by("web", false)).unwrap();
    assert_eq!(removed, [Removed::Untagged(name("a:1"))], "the stopped container can still be started");
    let kept = host.images.resolve(&image.id.to_string()).unwrap();
    assert_eq!((host.mount(&kept).read("file"), kept.names), ("a:1".to_owned(), vec![]));
    assert_eq!(host.images.remove(&image.id.short(), false, &unused).unwrap(), [Removed::Deleted(image.id)]);
    host.assert_empty();
}

#[test]
fn an_ambiguous_id_is_refused() {
    let host = Host::new();
    // Seventeen ids: two begin with the same digit.
    let ids: Vec<String> = (0..17).map(|n| import(&host, &format!("a:{n}")).id.hex()).collect();
    let shared = ids.iter().find(|id| ids.iter().filter(|other| other[..1] == id[..1]).count() > 1).unwrap();
    let error = host.images.resolve(&shared[..1]).unwrap_err();
    assert!(matches!(error, ImageError::Ambiguous { .. }), "{error}");
    assert_eq!(host.images.resolve(shared).unwrap().id.hex(), *shared);
}

#[tokio::test]
async fn a_pull_and_a_removal_at_the_same_time_leave_a_whole_image_or_none() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let image_name = registry.push("a", &Draft::new(&three_layers()));
    let text = image_name.to_string();
    host.images.pull(&image_name, None, &Quiet).await.unwrap();
    for round in 0..20 {
        let (images, text) = (host.images.clone(), text.clone());
        let removal = tokio::task::spawn_blocking(move || images.remove(&text, false, &unused));
        let pulled = host.images.pull(&image_name, None, &Quiet).await;
        // Too late for this one, or too early: both may happen.
        let removed = removal.await.unwrap();
        assert!(matches!(removed, Ok(_) | Err(ImageError::NotFound { .. })), "{round}: {removed:?}");
        match pulled {
            Ok(image) => match host.images.resolve(&image_name.to_string()) {
                Ok(_) => assert_eq!(host.mount(&image).names("dir"), ["c"], "{round}: whole"),
                Err(_) => host.assert_empty(),
            },
            Err(error) => assert!(matches!(error, ImageError::NotFound { .. }), "{round}: {error}"),
        }
    }
    host.images.pull(&image_name, None, &Quiet).await.unwrap();
    host.images.remove(&image_name.to_string(), false, &unused).unwrap();
    host.assert_empty();
}

#[test]
fn what_a_crash_left_is_collected() {
    let host = Host::new();
    let image = import(&host, "a:1");
    let (blobs, layers) = (host.blobs(), host.layers());
    // A pull that was killed between its layers and its record.
    host.content.put(b"an orphan").unwrap();
    let orphan = tar(&[("orphan", "x")]);
    let layers_store: &dyn snapshot::Snapshotter = &*host.layers;
    layers_store.unpack(&Digest::of(&orphan), &mut &orphan[..]).unwrap();
    assert_eq!((host.blobs().len(), host.layers().len()), (blobs.len() + 1, layers.len() + 1));
    host.reopened(None).collect(&unused).unwrap();
    assert_eq!((host.blobs(), host.layers()), (blobs, layers));
    assert_eq!(host.mount(&image).read("file"), "a:1");
}
