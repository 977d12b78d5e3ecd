// SPDX-License-Identifier: Apache-2.0
//! Pulling (distribution-spec, "Pull"), whole and in part, and what a deletion leaves.

use std::io::{BufReader, Read as _, Write as _};

use oci::Digest;

use crate::server::{Server, read};

#[test]
fn head_says_what_get_would_give() {
    let server = Server::start();
    let digest = server.push("a", b"content");
    let manifest = server.tag("a", "v1", b"content", "");
    for path in
        [format!("/v2/a/blobs/{digest}"), "/v2/a/manifests/v1".to_owned(), format!("/v2/a/manifests/{manifest}")]
    {
        let (head, get) = (server.ask("HEAD", &path, &[], b"").is(200), server.get(&path).is(200));
        for name in ["content-length", "content-type", "docker-content-digest", "etag"] {
            assert!(head.header(name).is_some() && head.header(name) == get.header(name), "{path} {name}");
        }
    }
    server.ask("HEAD", &format!("/v2/b/blobs/{digest}"), &[], b"").is(404);
    server.ask("HEAD", "/v2/a/manifests/v2", &[], b"").is(404);
    server.get("/v2/").is(200);
}

#[test]
fn parts_of_a_large_blob_are_given() {
    let server = Server::start();
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = server.push("a", &content);
    let path = format!("/v2/a/blobs/{digest}");
    assert!(server.get(&path).is(200).body == content);
    for (range, expected) in
        [("bytes=0-0", 0..1), ("bytes=300000-2300000", 300_000..2_300_001), ("bytes=-5", 3_999_995..4_000_000)]
    {
        let part = server.ask("GET", &path, &[("Range", range)], b"").is(206);
        assert!(part.body == content[expected.clone()], "{range}");
        let said = format!("bytes {}-{}/4000000", expected.start, expected.end - 1);
        assert_eq!(part.header("content-range"), Some(said.as_str()));
    }
    let beyond = server.ask("GET", &path, &[("Range", "bytes=4000000-")], b"").is(416);
    assert_eq!(beyond.header("content-range"), Some("bytes */4000000"));
    for nonsense in ["bytes=9-1", "lines=1-2", "bytes=0-1,5-6", "bytes=x"] {
        assert_eq!(server.ask("GET", &path, &[("Range", nonsense)], b"").is(200).body.len(), 4_000_000, "{nonsense}");
    }
    // A part goes with a part of the same only.
    for (condition, status) in [
        (format!("\"{digest}\""), 206),
        (format!("W/\"{digest}\""), 200),
        ("\"other\"".to_owned(), 200),
        ("Thu, 26 Nov 2026 11:00:00 GMT".to_owned(), 200),
    ] {
        server.ask("GET", &path, &[("Range", "bytes=0-0"), ("If-Range", &condition)], b"").is(status);
    }
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let server = Server::start();
    let digest = server.push("a", b"content");
    let manifest = server.tag("a", "v1", b"content", "");
    for (path, etag) in [(format!("/v2/a/blobs/{digest}"), digest), ("/v2/a/manifests/v1".to_owned(), manifest)] {
        let quoted = format!("\"{etag}\"");
        let known = server.ask("GET", &path, &[("If-None-Match", &quoted)], b"").is(304);
        assert_eq!((known.header("etag"), known.body.len()), (Some(quoted.as_str()), 0));
        server.ask("GET", &path, &[("If-None-Match", "\"sha256:other\"")], b"").is(200);
    }
}

#[test]
fn what_is_deleted_is_gone_here_and_stays_elsewhere() {
    let server = Server::start();
    let manifest = server.tag("a", "v1", b"content", "");
    server.tag("a", "other-name", b"content", "");
    server.tag("b", "v1", b"content", "");
    server.ask("DELETE", "/v2/a/manifests/other-name", &[], b"").is(202);
    server.get("/v2/a/manifests/v1").is(200);
    server.ask("DELETE", &format!("/v2/a/manifests/{manifest}"), &[], b"").is(202);
    assert_eq!(server.get("/v2/a/manifests/v1").is(404).code(), "MANIFEST_UNKNOWN");
    assert_eq!(server.get("/v2/a/tags/list").is(200).json()["tags"], serde_json::json!([]));
    server.ask("DELETE", &format!("/v2/a/manifests/{manifest}"), &[], b"").is(404);
    let blob = format!("blobs/{}", Digest::of(b"content"));
    server.ask("DELETE", &format!("/v2/a/{blob}"), &[], b"").is(202);
    assert_eq!(server.get(&format!("/v2/a/{blob}")).is(404).code(), "BLOB_UNKNOWN");
    server.ask("DELETE", &format!("/v2/a/{blob}"), &[], b"").is(404);
    server.get(&format!("/v2/b/{blob}")).is(200);
    server.get("/v2/b/manifests/v1").is(200);
}

#[test]
fn a_blob_deleted_while_it_is_pulled_comes_whole() {
    let server = Server::start();
    let content = vec![7; 30 << 20];
    let digest = server.push("a", &content);
    let mut stream = server.connect();
    write!(stream, "GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut begun = [0; 1000];
    stream.read_exact(&mut begun).unwrap();
    server.ask("DELETE", &format!("/v2/a/blobs/{digest}"), &[], b"").is(202);
    let rest = read(&mut BufReader::new(begun.chain(stream)), false).is(200);
    assert!(rest.body == content);
}
