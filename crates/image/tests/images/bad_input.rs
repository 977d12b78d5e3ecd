// SPDX-License-Identifier: Apache-2.0
//! Images that are broken or hostile. Each is refused with one error of the right kind, and leaves nothing.

use errors::{Classify as _, Kind, chain};
use image::{ImageError, Quiet};
use oci::Digest;
use serde_json::json;

use crate::fixture::{Draft, Host, gzip, name, noise, tar, three_layers};
use crate::tiny_registry::TinyRegistry;

/// The error of a pull of `draft`, after which nothing may be left.
async fn refused(draft: &Draft, spoil: impl FnOnce(&TinyRegistry)) -> ImageError {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let image_name = registry.push("bad", draft);
    spoil(&registry);
    let error = host.images.pull(&image_name, None, &Quiet).await.unwrap_err();
    host.assert_empty();
    error
}

fn draft() -> Draft {
    Draft::new(&three_layers())
}

#[tokio::test]
async fn an_unknown_image_is_not_found() {
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let error = host.images.pull(&registry.name("nothing"), None, &Quiet).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint().is_some());
    for unknown in ["nothing", "nothing:x", "0123456789ab", &format!("a@{}", Digest::of("x"))] {
        let error = host.images.resolve(unknown).unwrap_err();
        assert!(matches!(error, ImageError::NotFound { .. }), "{unknown}: {error}");
        assert!(error.hint().unwrap().contains("corten pull"));
    }
    assert_eq!(host.images.resolve("Not A Name").unwrap_err().kind(), Kind::InvalidArgument);
    host.assert_empty();
}

#[tokio::test]
async fn a_blob_with_other_content_is_refused() {
    let layers = [tar(&[("a", &noise(300_000, 5))]), tar(&[("b", "b")])];
    let draft = Draft::new(&layers);
    // The same length, one byte else, at the front, in the middle and at the end: once the decoder notices, once the
    // unpacker, once only the digest.
    for (layer, at) in [(0, 100_000), (0, 0), (1, 5)] {
        let digest = draft.layer(layer);
        let mut blob = draft.blobs[&digest].clone();
        let last = blob.len() - 1;
        blob[at.min(last)] ^= 0x40;
        let error = refused(&draft, |registry| registry.put_blob("bad", digest, blob)).await;
        assert_eq!(error.kind(), Kind::Corrupt, "{}", chain(&error));
        assert!(chain(&error).contains(&digest.to_string()), "{}", chain(&error));
        assert!(matches!(error, ImageError::Blob { .. }), "the digest tells more than the decoder: {}", chain(&error));
    }
}

#[tokio::test]
async fn a_truncated_layer_is_refused() {
    let draft = draft();
    let digest = draft.layer(0);
    let half = draft.blobs[&digest][..draft.blobs[&digest].len() / 2].to_vec();
    // Shorter than the manifest says.
    let error = refused(&draft, |registry| registry.put_blob("bad", digest, half.clone())).await;
    assert_eq!(error.kind(), Kind::Corrupt, "{}", chain(&error));
    // The manifest is right about it; the archive ends too early.
    let mut cut = draft.clone();
    cut.manifest["layers"][0]["digest"] = json!(Digest::of(&half));
    cut.manifest["layers"][0]["size"] = json!(half.len());
    cut.blobs.insert(Digest::of(&half), half);
    let error = refused(&cut, |_| {}).await;
    assert!(matches!(error, ImageError::Layer { .. }), "{}", chain(&error));
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[tokio::test]
async fn a_wrong_diff_id_is_refused() {
    let mut draft = draft();
    draft.config["rootfs"]["diff_ids"][1] = json!(Digest::of("other"));
    let error = refused(&draft, |_| {}).await;
    assert!(matches!(error, ImageError::Layer { .. }), "{}", chain(&error));
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[tokio::test]
async fn documents_that_do_not_fit_are_refused() {
    let mut fewer = draft();
    fewer.config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop();
    assert!(matches!(refused(&fewer, |_| {}).await, ImageError::Inconsistent { .. }));
    let mut no_config = draft();
    no_config.config = json!("hello");
    assert!(matches!(refused(&no_config, |_| {}).await, ImageError::Document { document: "configuration", .. }));
    let mut other = draft();
    other.config["architecture"] = json!("s390x");
    let error = refused(&other, |_| {}).await;
    assert!(matches!(error, ImageError::Platform(_)) && error.kind() == Kind::Unsupported, "{error}");
    assert!(error.to_string().contains("linux/s390x"), "{error}");
    let mut foreign = draft();
    foreign.manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    assert!(matches!(refused(&foreign, |_| {}).await, ImageError::NotDistributable { .. }));
    let mut chart = draft();
    chart.manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    assert_eq!(refused(&chart, |_| {}).await.kind(), Kind::Unsupported);
    let swapped = draft();
    let (_, blobs) = swapped.finish();
    let config = Digest::of(serde_json::to_vec(&swapped.config).unwrap());
    let mut text = blobs[&config].clone();
    let at = text.iter().position(|&b| b == b'/').unwrap();
    text[at] = b'x';
    let error = refused(&swapped, |registry| registry.put_blob("bad", config, text)).await;
    assert!(matches!(error, ImageError::Blob { .. }), "{}", chain(&error));
}

fn link(kind: tar::EntryType, name: &str, target: &str, then: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(name).unwrap();
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_size(0);
    header.set_mode(0o777);
    header.set_cksum();
    builder.append(&header, std::io::empty()).unwrap();
    let mut bytes = builder.get_ref().clone();
    bytes.extend(tar(then));
    bytes
}

#[tokio::test]
async fn a_hostile_layer_reaches_nothing_outside() {
    let victim = tempfile::tempdir().unwrap();
    let outside = victim.path().join("planted");
    let absolute = outside.to_str().unwrap();
    let up = format!("{}{}", "../".repeat(12), absolute.trim_start_matches('/'));
    let dir = victim.path().to_str().unwrap();
    let hostile = [
        tar(&[(absolute, "x")]),
        tar(&[(&up, "x")]),
        tar(&[("a/", ""), (&format!("a/{up}"), "x")]),
        link(tar::EntryType::Link, "a", "../../../../../../../../etc/passwd", &[]),
        tar(&[("x/.wh...", "")]),
    ];
    for (n, layer) in hostile.iter().enumerate() {
        let error = refused(&Draft::new(std::slice::from_ref(layer)), |_| {}).await;
        assert_eq!(error.kind(), Kind::Corrupt, "{n}: {}", chain(&error));
        assert!(!outside.exists(), "{n}");
    }
    // A link out is allowed, images have them; what is written through it stays inside.
    let (host, registry) = (Host::new(), TinyRegistry::start());
    let layer = link(tar::EntryType::Symlink, "out", dir, &[("out/planted", "x")]);
    let image_name = registry.push("link", &Draft::new(&[layer]));
    // Followed inside the layer, replaced, or refused: all are safe.
    let pulled = host.images.pull(&image_name, None, &Quiet).await;
    assert!(!outside.exists());
    if let Err(error) = pulled {
        assert_eq!(error.kind(), Kind::Corrupt, "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_huge_sparse_file_is_refused() {
    // GNU sparse, old form: a file of one tebibyte (a binary number) without content.
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_path("huge").unwrap();
    header.set_size(0);
    header.set_mode(0o644);
    header.as_gnu_mut().unwrap().realsize.copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    header.set_cksum();
    builder.append(&header, std::io::empty()).unwrap();
    let layer = builder.into_inner().unwrap();
    let error = refused(&Draft::new(&[layer]), |_| {}).await;
    assert_eq!(error.kind(), Kind::Corrupt, "{}", chain(&error));
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing() {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    use std::os::fd::AsRawFd as _;
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_string(&fs, "size", "4m").unwrap();
    fsconfig_create(&fs).unwrap();
    // In no mount table: it is gone with its descriptor.
    let disk = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    let root = format!("/proc/self/fd/{}", disk.as_raw_fd());
    let root = std::path::Path::new(&root);
    let content = std::sync::Arc::new(content::ContentStore::open(&root.join("content")).unwrap());
    let layers = std::sync::Arc::new(snapshot::Directories::open(root).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let metadata = std::sync::Arc::new(metadata::Store::open(&dir.path().join("m.redb")).unwrap());
    let images = crate::fixture::open(&content, &layers, &metadata, None);
    let registry = TinyRegistry::start();
    // The blob fits nowhere; or it fits, being small, and what it unpacks to does not.
    let large = Draft::new(&[tar(&[("noise", &noise(6 << 20, 9))])]);
    let bomb = Draft::new(&[tar(&[("zeros", &"0".repeat(6 << 20))])]);
    for (repository, draft) in [("large", large), ("bomb", bomb)] {
        let error = images.pull(&registry.push(repository, &draft), None, &Quiet).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NoSpace, "{repository}: {}", chain(&error));
        assert_eq!(content.blobs().unwrap(), []);
        assert_eq!(snapshot::Snapshotter::layers(&*layers).unwrap(), []);
    }
    let archive = tar(&[("noise", &noise(6 << 20, 9))]);
    let error = images.import(&archive[..], &name("x"), &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace, "{}", chain(&error));
    assert_eq!(content.blobs().unwrap(), []);
    let fits = Draft::new(&[gzip(b"not a tar")]);
    assert_eq!(images.pull(&registry.push("x", &fits), None, &Quiet).await.unwrap_err().kind(), Kind::Corrupt);
}
