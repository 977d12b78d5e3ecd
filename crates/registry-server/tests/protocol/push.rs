// SPDX-License-Identifier: Apache-2.0
//! Pushing (distribution-spec, "Push").

use oci::{Algorithm, Digest};

use crate::server::{IMAGE, Server, manifest};

const POST: &str = "/v2/a/b/blobs/uploads/";

#[test]
fn a_blob_comes_in_one_request_in_two_and_in_chunks() {
    let server = Server::start();
    server.push("a/b", b"one");
    let begun = server.ask("POST", POST, &[], b"").is(202);
    let location = begun.header("location").unwrap().to_owned();
    assert_eq!(begun.header("range"), Some("0-0"));
    let digest = Digest::of(b"two");
    let done = server.ask("PUT", &format!("{location}?digest={digest}"), &[], b"two").is(201);
    assert_eq!(done.header("location"), Some(format!("/v2/a/b/blobs/{digest}").as_str()));
    assert_eq!(done.header("docker-content-digest"), Some(digest.to_string().as_str()));
    let location = server.ask("POST", POST, &[], b"").is(202).header("location").unwrap().to_owned();
    let chunk = server.ask("PATCH", &location, &[("Content-Range", "0-4")], b"hello").is(202);
    assert_eq!((chunk.header("range"), chunk.header("location")), (Some("0-4"), Some(location.as_str())));
    server.ask("PATCH", &location, &[], b", wor").is(202);
    let status = server.get(&location).is(204);
    assert_eq!(status.header("range"), Some("0-9"));
    let digest = Digest::of(b"hello, world");
    server.ask("PUT", &format!("{location}?digest={digest}"), &[("Content-Range", "10-11")], b"ld").is(201);
    assert_eq!(server.get(&format!("/v2/a/b/blobs/{digest}")).is(200).body, b"hello, world");
    assert_eq!(server.get(&location).is(404).code(), "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn a_chunk_out_of_order_is_refused_and_the_upload_goes_on() {
    let server = Server::start();
    let location = server.ask("POST", POST, &[], b"").is(202).header("location").unwrap().to_owned();
    server.ask("PATCH", &location, &[("Content-Range", "0-2")], b"abc").is(202);
    let refused = server.ask("PATCH", &location, &[("Content-Range", "5-7")], b"fgh").is(416);
    assert_eq!(refused.header("range"), Some("0-2"));
    server.ask("PATCH", &location, &[("Content-Range", "3-9")], b"de").is(400);
    server.ask("PATCH", &location, &[("Content-Range", "nonsense")], b"de").is(400);
    server.ask("PATCH", &location, &[("Content-Range", "3-4")], b"de").is(202);
    server.ask("PUT", &format!("{location}?digest={}", Digest::of(b"abcde")), &[], b"").is(201);
}

#[test]
fn an_upload_outlives_the_server_and_can_be_cancelled() {
    let server = Server::start();
    let location = server.ask("POST", POST, &[], b"").is(202).header("location").unwrap().to_owned();
    server.ask("PATCH", &location, &[], b"first half, ").is(202);
    let server = server.restart();
    assert_eq!(server.get(&location).is(204).header("range"), Some("0-11"));
    let digest = Digest::of(b"first half, second half");
    server.ask("PUT", &format!("{location}?digest={digest}"), &[], b"second half").is(201);
    let location = server.ask("POST", POST, &[], b"").is(202).header("location").unwrap().to_owned();
    server.ask("DELETE", &location, &[], b"").is(204);
    server.ask("PATCH", &location, &[], b"more").is(404);
    assert_eq!(std::fs::read_dir(server.root().join("registry/uploads")).unwrap().count(), 0);
}

#[test]
fn a_wrong_or_strange_digest_is_refused() {
    let server = Server::start();
    let wrong = Digest::of(b"another");
    let answer = server.ask("POST", &format!("{POST}?digest={wrong}"), &[], b"content").is(400);
    assert_eq!(answer.code(), "DIGEST_INVALID");
    for digest in ["sha512:00", "md5:abc", "sha256:short", "sha256:..%2f..%2fetc", "nonsense"] {
        let answer = server.ask("POST", &format!("{POST}?digest={digest}"), &[], b"content").is(400);
        assert_eq!(answer.code(), "DIGEST_INVALID", "{digest}");
    }
    server.ask("POST", &format!("{POST}?digest-algorithm=md5"), &[], b"").is(400);
    server.get(&format!("/v2/a/b/blobs/{wrong}")).is(404);
    assert_eq!(std::fs::read_dir(server.root().join("registry/uploads")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(server.root().join("registry/content/blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn content_may_be_named_by_sha512() {
    let server = Server::start();
    let long = |content: &[u8]| Algorithm::Sha512.digest(content);
    // In one request, in two, in two without a word of it before, and across a restart in the middle.
    server.ask("POST", &format!("{POST}?digest={}", long(b"one")), &[], b"one").is(201);
    for (content, query) in [(b"two", "?digest-algorithm=sha512"), (b"six", "")] {
        let location =
            server.ask("POST", &format!("{POST}{query}"), &[], b"").is(202).header("location").unwrap().to_owned();
        server.ask("PATCH", &location, &[], &content[..2]).is(202);
        let done = format!("{location}?digest={}", long(content));
        server.ask("PUT", &done, &[], &content[2..]).is(201);
    }
    let location = server
        .ask("POST", &format!("{POST}?digest-algorithm=sha512"), &[], b"")
        .is(202)
        .header("location")
        .unwrap()
        .to_owned();
    server.ask("PATCH", &location, &[], b"t").is(202);
    let server = server.restart();
    server.ask("PUT", &format!("{location}?digest={}", long(b"ten")), &[], b"en").is(201);
    let answer = server.ask("POST", &format!("{POST}?digest={}", long(b"other")), &[], b"eleven").is(400);
    assert_eq!(answer.code(), "DIGEST_INVALID");
    for content in [b"one", b"two", b"six", b"ten"] {
        let blob = server.get(&format!("/v2/a/b/blobs/{}", long(content))).is(200);
        assert_eq!(
            (blob.body.as_slice(), blob.header("docker-content-digest")),
            (&content[..], Some(long(content).to_string().as_str()))
        );
        server.get(&format!("/v2/a/b/blobs/{}", Digest::of(content))).is(404);
    }
    let body = manifest(&long(b"one"), 3, "");
    let path = format!("/v2/a/b/manifests/{}?tag=v1", long(body.as_bytes()));
    let put = server.ask("PUT", &path, &[("Content-Type", IMAGE)], body.as_bytes()).is(201);
    assert_eq!(put.header("docker-content-digest"), Some(long(body.as_bytes()).to_string().as_str()));
    let wrong = format!("/v2/a/b/manifests/{}", long(b"another"));
    assert_eq!(server.ask("PUT", &wrong, &[("Content-Type", IMAGE)], body.as_bytes()).is(400).code(), "DIGEST_INVALID");
    // A referrer by SHA-256 of a subject by SHA-512.
    let more = format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{}","size":1}}"#, long(body.as_bytes()));
    let referrer = server.tag("a/b", "signature", b"signature", &more);
    let server = server.restart();
    let got = server.get("/v2/a/b/manifests/v1").is(200);
    assert_eq!(
        (got.body.as_slice(), got.header("docker-content-digest")),
        (body.as_bytes(), Some(long(body.as_bytes()).to_string().as_str()))
    );
    let referrers = server.get(&format!("/v2/a/b/referrers/{}", long(body.as_bytes()))).is(200).json();
    assert_eq!(referrers["manifests"][0]["digest"], referrer.to_string());
    server.ask("DELETE", &format!("/v2/a/b/manifests/{}", long(body.as_bytes())), &[], b"").is(202);
    server.get("/v2/a/b/manifests/v1").is(404);
}

#[test]
fn a_blob_is_mounted_from_another_repository_or_from_any() {
    let server = Server::start();
    let digest = server.push("source", b"shared");
    let mounted = server.ask("POST", &format!("/v2/one/blobs/uploads/?mount={digest}&from=source"), &[], b"").is(201);
    assert_eq!(mounted.header("location"), Some(format!("/v2/one/blobs/{digest}").as_str()));
    server.ask("POST", &format!("/v2/two/blobs/uploads/?mount={digest}"), &[], b"").is(201);
    server.get(&format!("/v2/two/blobs/{digest}")).is(200);
    let absent = Digest::of(b"absent");
    for query in [format!("mount={absent}&from=source"), format!("mount={digest}&from=..%2f..")] {
        let upload = server.ask("POST", &format!("/v2/three/blobs/uploads/?{query}"), &[], b"").is(202);
        assert!(upload.header("location").unwrap().starts_with("/v2/three/blobs/uploads/"));
    }
}

#[test]
fn a_manifest_is_kept_as_it_was_pushed() {
    let server = Server::start();
    let digest = server.push("a", b"layer");
    // Spaces and an unknown field: a registry does not write manifests anew.
    let body = manifest(&digest, 5, r#",   "org.example.unknown" : [1 , 2]"#);
    let put = server.ask("PUT", "/v2/a/manifests/v1", &[("Content-Type", IMAGE)], body.as_bytes()).is(201);
    assert_eq!(put.header("docker-content-digest"), Some(Digest::of(&body).to_string().as_str()));
    for reference in ["v1", &Digest::of(&body).to_string()] {
        let got = server.get(&format!("/v2/a/manifests/{reference}")).is(200);
        assert_eq!((got.header("content-type"), got.body.as_slice()), (Some(IMAGE), body.as_bytes()));
    }
    let custom = "application/vnd.example.thing.v7+json";
    server.ask("PUT", "/v2/a/manifests/thing", &[("Content-Type", custom)], b"{\"any\": \"thing\"}").is(201);
    let server = server.restart();
    assert_eq!(server.get("/v2/a/manifests/thing").is(200).header("content-type"), Some(custom));
}

#[test]
fn a_manifest_that_cannot_be_is_refused() {
    let server = Server::start();
    let digest = server.push("a", b"layer");
    let put = |reference: &str, content_type: &str, body: &str| {
        let path = format!("/v2/a/manifests/{reference}");
        server.ask("PUT", &path, &[("Content-Type", content_type)], body.as_bytes())
    };
    let absent = Digest::of(b"absent");
    let missing = put("v1", IMAGE, &manifest(&absent, 6, "")).is(404);
    assert_eq!(missing.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(missing.json()["errors"][0]["detail"]["digest"], absent.to_string());
    assert_eq!(put("v1", IMAGE, &manifest(&digest, 6, "")).is(400).code(), "SIZE_INVALID", "the blob has 5 bytes");
    let good = manifest(&digest, 5, "");
    assert_eq!(put(&absent.to_string(), IMAGE, &good).is(400).code(), "DIGEST_INVALID");
    assert_eq!(put("v1", "application/vnd.oci.image.index.v1+json", &good).is(400).code(), "MANIFEST_INVALID");
    assert_eq!(put("v1", IMAGE, "{").is(400).code(), "MANIFEST_INVALID");
    assert_eq!(put("-v1", IMAGE, &good).is(400).code(), "MANIFEST_INVALID", "that is no tag");
    server.get("/v2/a/manifests/v1").is(404);
}

#[test]
fn a_manifest_is_pushed_by_digest_with_several_tags() {
    let server = Server::start();
    let digest = server.push("a", b"layer");
    let body = manifest(&digest, 5, "");
    let path = format!("/v2/a/manifests/{}?tag=1&tag=1.2&tag=latest", Digest::of(&body));
    let put = server.ask("PUT", &path, &[("Content-Type", IMAGE)], body.as_bytes()).is(201);
    assert_eq!(put.header("oci-tag"), Some("1, 1.2, latest"));
    server.get("/v2/a/manifests/1.2").is(200);
}

#[test]
fn a_read_only_registry_takes_nothing() {
    let server = Server::start();
    let manifest = server.tag("a", "v1", b"layer", "");
    let root = server.root().join("registry");
    let copy = tempfile::tempdir().unwrap();
    std::fs::rename(&root, copy.path().join("registry")).unwrap();
    drop(server);
    let read_only = Server::start_with(|options| {
        options.root = copy.path().join("registry");
        options.read_only = true;
    });
    read_only.get("/v2/a/manifests/v1").is(200);
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("PUT", "/v2/a/manifests/v2".to_owned()),
        ("DELETE", format!("/v2/a/manifests/{manifest}")),
        ("DELETE", "/v2/a/manifests/v1".to_owned()),
    ] {
        assert_eq!(read_only.ask(method, &path, &[], b"").is(405).code(), "UNSUPPORTED", "{method} {path}");
    }
}
