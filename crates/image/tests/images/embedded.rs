// SPDX-License-Identifier: Apache-2.0
//! The embedded image.

use std::os::unix::fs::PermissionsExt as _;

use image::{EMBEDDED_NAME, ImageError, ImageUser};

use crate::fixture::{Host, name, noise, tar};

fn executable(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

#[test]
fn it_is_made_when_it_is_first_asked_for() {
    let file = executable(&noise(100_000, 4));
    let host = Host::with_executable(Some(file.path().to_owned()));
    host.assert_empty();
    let image = host.images.resolve("corten/hello").unwrap();
    assert_eq!(image.names, [name(EMBEDDED_NAME)]);
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.entrypoint().as_deref().unwrap(), ["/corten", "hello"]);
    assert_eq!(config.exposed_ports().as_deref().unwrap(), ["8080/tcp"]);
    assert_eq!(config.labels().as_ref().unwrap()["corten.client-start"], "1");
    let root = host.mount(&image);
    assert_eq!(root.names(""), ["corten", "data", "etc", "tmp"]);
    assert_eq!(root.read("corten"), noise(100_000, 4));
    assert!(root.read("etc/passwd").starts_with("root:x:0:0:"));
    let mode = |path: &str| std::fs::metadata(root.path(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("corten"), mode("tmp"), mode("data")), (0o755, 0o1777, 0o755));
    for same in ["corten/hello:latest", "docker.io/corten/hello", &image.id.short()] {
        assert_eq!(host.images.resolve(same).unwrap(), image, "{same}");
    }
    let other = host.images.resolve("example.com/corten/hello").unwrap_err();
    assert!(matches!(other, ImageError::NotFound { .. }));
}

#[test]
fn the_same_executable_gives_the_same_digests() {
    let (one, two) = (executable("x"), executable("x"));
    let host = Host::with_executable(Some(one.path().to_owned()));
    let other = Host::with_executable(Some(two.path().to_owned()));
    let (a, b) = (host.images.resolve(EMBEDDED_NAME).unwrap(), other.images.resolve(EMBEDDED_NAME).unwrap());
    assert_eq!((a.id, a.manifest), (b.id, b.manifest));
}

#[test]
fn a_new_executable_makes_a_new_image() {
    let file = executable("old");
    let host = Host::with_executable(Some(file.path().to_owned()));
    let old = host.images.resolve("corten/hello").unwrap();
    // The same size, in the same second: written anew as an update does it.
    let update = executable("new");
    std::fs::rename(update.path(), file.path()).unwrap();
    let new = host.images.resolve("corten/hello").unwrap();
    assert_ne!(new.id, old.id);
    assert_eq!(host.mount(&new).read("corten"), "new");
    // The old one stays while a container has it, and goes when none does.
    let in_use = |id: &oci::Digest| (*id == old.id).then(|| ImageUser { container: "web".to_owned(), running: true });
    host.images.collect(&in_use).unwrap();
    assert_eq!(host.mount(&old).read("corten"), "old");
    host.images.collect(&|_| None).unwrap();
    assert_eq!(host.images.list().unwrap(), [new]);
    assert_eq!((host.layers().len(), host.blobs().len()), (1, 3));
}

#[test]
fn removed_it_comes_back_and_a_users_own_stays() {
    let file = executable("x");
    let host = Host::with_executable(Some(file.path().to_owned()));
    assert!(matches!(host.images.remove("corten/hello", false, &|_| None), Err(ImageError::NotFound { .. })));
    let first = host.images.resolve("corten/hello").unwrap();
    host.images.remove("corten/hello", false, &|_| None).unwrap();
    host.assert_empty();
    assert_eq!(host.images.resolve("corten/hello").unwrap(), first);
    let own = host.images.import(&tar(&[("mine", "x")])[..], &name(EMBEDDED_NAME), &[]).unwrap();
    assert_eq!(host.images.resolve("corten/hello").unwrap().id, own.id);
}

#[test]
fn an_executable_that_cannot_be_read_is_named() {
    let host = Host::with_executable(Some("/nonexistent/corten".into()));
    let error = host.images.resolve("corten/hello").unwrap_err();
    assert!(error.to_string().contains("/nonexistent/corten"), "{error}");
    host.assert_empty();
    let none = Host::new();
    assert!(matches!(none.images.resolve("corten/hello"), Err(ImageError::NotFound { .. })));
}
