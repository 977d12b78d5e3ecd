// SPDX-License-Identifier: Apache-2.0
//! A registry that is a cache of another one.

use std::io::{Read as _, Write as _};

use oci::Digest;
use registry_client::{CredentialSource, Options};
use registry_server::Mirror;

use crate::server::{IMAGE, Server, manifest};

fn cache_of(upstream: &Server) -> Server {
    cache_with(upstream, |_| {})
}

fn cache_with(upstream: &Server, change: impl FnOnce(&mut registry_server::Options)) -> Server {
    let client = Options {
        retries: 0,
        idle_timeout: std::time::Duration::from_secs(5),
        credentials: CredentialSource::Anonymous,
        ..Options::default()
    };
    let mirror = Mirror::of(&format!("http://{}", upstream.address), client).unwrap();
    Server::start_with(|options| {
        options.mirror = Some(mirror);
        change(options);
    })
}

fn layer() -> Vec<u8> {
    (0..500_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn what_is_not_here_comes_from_there_and_is_kept() {
    let upstream = Server::start();
    let digest = upstream.tag("library/app", "v1", &layer(), "");
    let cache = cache_of(&upstream);
    let blob = format!("/v2/library/app/blobs/{}", Digest::of(layer()));
    cache.get(&blob).is(404);
    let got = cache.get("/v2/library/app/manifests/v1").is(200);
    assert_eq!((got.header("content-type"), Digest::of(&got.body)), (Some(IMAGE), digest));
    cache.ask("HEAD", &blob, &[], b"").is(404);
    assert!(cache.get(&blob).is(200).body == layer());
    drop(upstream);
    assert!(cache.get(&blob).is(200).body == layer());
    cache.ask("HEAD", &blob, &[], b"").is(200);
    cache.get("/v2/library/app/manifests/v1").is(200);
    cache.get(&format!("/v2/library/app/manifests/{digest}")).is(200);
    let gone = cache.get("/v2/library/app/manifests/v2").is(502);
    assert!(!String::from_utf8_lossy(&gone.body).contains("127.0.0.1"), "what lies behind is nobody's business");
}

#[test]
fn what_is_nowhere_is_nowhere() {
    let upstream = Server::start();
    let cache = cache_of(&upstream);
    assert_eq!(cache.get("/v2/a/manifests/v1").is(404).code(), "MANIFEST_UNKNOWN");
    let digest = Digest::of(b"nothing");
    assert_eq!(cache.get(&format!("/v2/a/manifests/{digest}")).is(404).code(), "MANIFEST_UNKNOWN");
    assert_eq!(cache.get(&format!("/v2/a/blobs/{digest}")).is(404).code(), "BLOB_UNKNOWN");
}

#[test]
fn what_was_pushed_here_wins() {
    let upstream = Server::start();
    upstream.tag("a", "v1", b"there", "");
    let cache = cache_of(&upstream);
    let here = cache.tag("a", "v1", b"here", "");
    assert_eq!(Digest::of(cache.get("/v2/a/manifests/v1").is(200).body), here);
    let there = Digest::of(
        cache.get(&format!("/v2/a/manifests/{}", Digest::of(manifest(&Digest::of(b"there"), 5, "")))).is(200).body,
    );
    assert_ne!(there, here);
    // And a tag that came from there is replaced by a push.
    upstream.tag("b", "v1", b"there", "");
    cache.get("/v2/b/manifests/v1").is(200);
    let here = cache.tag("b", "v1", b"here", "");
    assert_eq!(Digest::of(cache.get("/v2/b/manifests/v1").is(200).body), here);
}

#[test]
fn a_blob_that_is_damaged_there_is_given_to_nobody_whole() {
    let upstream = Server::start();
    upstream.tag("a", "v1", &layer(), "");
    let digest = Digest::of(layer());
    let file = upstream.root().join("registry/content/blobs/sha256").join(digest.hex());
    let mut damaged = layer();
    damaged[1_000_000] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, damaged).unwrap();
    let cache = cache_of(&upstream);
    cache.get("/v2/a/manifests/v1").is(200);
    let received = cache.get_what_comes(&format!("/v2/a/blobs/{digest}"));
    assert!(received < layer().len(), "{received} bytes");
    assert!(!cache.root().join("registry/content/blobs/sha256").join(digest.hex()).exists());
    cache.ask("HEAD", &format!("/v2/a/blobs/{digest}"), &[], b"").is(404);
}

#[test]
fn many_ask_at_once_for_what_is_not_here() {
    let upstream = Server::start();
    upstream.tag("a", "v1", &layer(), "");
    let cache = cache_of(&upstream);
    cache.get("/v2/a/manifests/v1").is(200);
    let blob = format!("/v2/a/blobs/{}", Digest::of(layer()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(cache.get(&blob).is(200).body == layer()));
        }
    });
}

#[test]
fn a_client_that_takes_nothing_holds_up_no_other() {
    let upstream = Server::start();
    let huge = vec![7; 32 << 20];
    let digest = upstream.tag("a", "v1", &huge, "");
    let cache = cache_with(&upstream, |options| options.limits.fetches = 1);
    upstream.tag("b", "v1", &layer(), "");
    for name in ["a", "b"] {
        cache.get(&format!("/v2/{name}/manifests/v1")).is(200);
    }
    let mut silent = cache.connect();
    write!(silent, "GET /v2/a/blobs/{} HTTP/1.1\r\nHost: x\r\n\r\n", Digest::of(&huge)).unwrap();
    let mut first = [0; 1];
    silent.read_exact(&mut first).unwrap();
    assert!(cache.get(&format!("/v2/b/blobs/{}", Digest::of(layer()))).is(200).body == layer());
    // What it did not wait for is here all the same, and the rest of it comes when it is taken.
    drop(upstream);
    assert!(cache.get(&format!("/v2/a/blobs/{}", Digest::of(&huge))).is(200).body == huge);
    let mut rest = vec![0; huge.len()];
    silent.read_exact(&mut rest).unwrap();
    assert_eq!(digest, Digest::of(cache.get("/v2/a/manifests/v1").is(200).body));
}
