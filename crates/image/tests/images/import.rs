// SPDX-License-Identifier: Apache-2.0
//! Imports of root file systems.

use std::io::{self, Read};

use errors::{Classify as _, Kind, chain};
use image::ImageError;
use oci::Digest;

use crate::fixture::{Host, architecture, gzip, name, tar, zstd};

fn root() -> Vec<u8> {
    tar(&[("./", ""), ("./etc/", ""), ("./etc/hostname", "here"), ("./bin/", ""), ("./bin/sh", "#!")])
}

#[test]
fn every_compression_gives_the_same_root() {
    let host = Host::new();
    for (n, archive) in [root(), gzip(&root()), zstd(&root())].iter().enumerate() {
        let image = host.images.import(&archive[..], &name(&format!("root:{n}")), &[]).unwrap();
        assert_eq!(image.layers, [Digest::of(root())]);
        assert_eq!(image.names, [name(&format!("root:{n}"))]);
        assert_eq!(host.mount(&image).read("etc/hostname"), "here");
        assert!(host.content.contains(&Digest::of(archive)), "the archive is kept as it is");
    }
    assert_eq!((host.layers().len(), host.blobs().len()), (1, 3 + 3 + 3));
}

#[test]
fn changes_become_the_configuration() {
    let host = Host::new();
    let changes = ["CMD [\"/bin/sh\"]", "ENV A=1", "WORKDIR /etc", "USER 7", "EXPOSE 80"].map(str::to_owned);
    let image = host.images.import(&root()[..], &name("root"), &changes).unwrap();
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.cmd().as_deref().unwrap(), ["/bin/sh"]);
    assert_eq!(config.env().as_deref().unwrap(), ["A=1"]);
    assert_eq!((config.working_dir().as_deref(), config.user().as_deref()), (Some("/etc"), Some("7")));
    assert_eq!(config.exposed_ports().as_deref().unwrap(), ["80/tcp"]);
    assert_eq!(image.config.architecture().to_string(), architecture());
    assert_eq!(image.config.history().as_ref().unwrap()[0].comment().as_deref(), Some("imported"));
    assert!(image.created.unwrap().starts_with("20"));
    let plain = host.images.import(&root()[..], &name("plain"), &[]).unwrap();
    assert!(plain.config.config().as_ref().unwrap().cmd().is_none(), "no command but one that was asked for");
}

struct Breaks;

impl Read for Breaks {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    let host = Host::new();
    let cut = |bytes: Vec<u8>, by: usize| bytes[..bytes.len() - by].to_vec();
    let hostile = tar(&[("../../out", "x")]);
    for (what, archive) in [
        ("empty", Vec::new()),
        ("text", b"this is no archive, whatever its name says".repeat(50)),
        ("cut tar", cut(root(), 1024 + 512)),
        ("cut gzip", cut(gzip(&root()), 20)),
        ("cut zstd", cut(zstd(&root()), 5)),
        ("hostile", hostile),
    ] {
        let error = host.images.import(&archive[..], &name("bad"), &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{what}: {}", chain(&error));
        host.assert_empty();
    }
    let broken = host.images.import(root()[..600].chain(Breaks), &name("bad"), &[]).unwrap_err();
    assert_eq!(broken.kind(), Kind::Unavailable, "{}", chain(&broken));
    let pinned = name(&format!("a@{}", Digest::of("x")));
    assert!(matches!(host.images.import(&root()[..], &pinned, &[]), Err(ImageError::DigestName { .. })));
    let change = ["RUN make".to_owned()];
    assert!(matches!(host.images.import(&root()[..], &name("a"), &change), Err(ImageError::Change { .. })));
    host.assert_empty();
}
