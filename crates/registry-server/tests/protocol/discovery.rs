// SPDX-License-Identifier: Apache-2.0
//! Lists (distribution-spec, "Content Discovery").

use oci::Digest;
use serde_json::json;

use crate::server::{IMAGE, Server};

#[test]
fn tags_are_listed_in_order_a_page_at_a_time() {
    let server = Server::start();
    for tag in ["b", "a", "C", "c", "B"] {
        server.tag("some/name", tag, b"content", "");
    }
    let all = server.get("/v2/some/name/tags/list").is(200).json();
    assert_eq!(all, json!({"name": "some/name", "tags": ["B", "C", "a", "b", "c"]}));
    let first = server.get("/v2/some/name/tags/list?n=2").is(200);
    assert_eq!(first.json()["tags"], json!(["B", "C"]));
    let link = first.header("link").unwrap();
    assert!(link.ends_with("; rel=\"next\""), "{link}");
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    assert_eq!(server.get(next).is(200).json()["tags"], json!(["a", "b"]));
    let none = server.get("/v2/some/name/tags/list?n=0").is(200);
    assert_eq!((&none.json()["tags"], none.header("link")), (&json!([]), None));
    server.get("/v2/some/name/tags/list?n=-1").is(400);
    assert_eq!(server.get("/v2/some/tags/list").is(404).code(), "NAME_UNKNOWN");
}

#[test]
fn repositories_are_listed() {
    let server = Server::start();
    for name in ["b", "a/b", "a", "a-b/c"] {
        server.push(name, b"content");
    }
    assert_eq!(server.get("/v2/_catalog").is(200).json()["repositories"], json!(["a", "a-b/c", "a/b", "b"]));
    let page = server.get("/v2/_catalog?n=2&last=a").is(200);
    assert_eq!(page.json()["repositories"], json!(["a-b/c", "a/b"]));
    assert_eq!(page.header("link"), Some("</v2/_catalog?last=a/b&n=2>; rel=\"next\""));
}

#[test]
fn referrers_are_listed_and_filtered() {
    let server = Server::start();
    // The subject comes after the first of its referrers.
    let subject = Digest::of(crate::server::manifest(&Digest::of(b"image"), 5, ""));
    let more = |kind: &str| {
        format!(
            r#","artifactType":"{kind}","annotations":{{"a":"b"}},"subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":1}}"#
        )
    };
    let path = format!("/v2/a/referrers/{subject}");
    assert_eq!(server.get(&path).is(200).json()["manifests"], json!([]), "none, and no 404");
    let sbom = server.tag("a", "sbom", b"sbom", &more("application/x.sbom+json"));
    assert_eq!(server.tag("a", "v1", b"image", ""), subject);
    let signature = server.tag("a", "signature", b"signature", &more("application/x.signature"));
    let all = server.get(&path).is(200);
    assert_eq!(all.header("content-type"), Some("application/vnd.oci.image.index.v1+json"));
    assert_eq!(all.json()["manifests"].as_array().map(Vec::len), Some(2));
    let filtered = server.get(&format!("{path}?artifactType=application/x.sbom%2Bjson")).is(200);
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    let entry = &filtered.json()["manifests"][0];
    assert_eq!((&entry["digest"], &entry["annotations"]["a"]), (&json!(sbom), &json!("b")));
    server.ask("DELETE", &format!("/v2/a/manifests/{signature}"), &[], b"").is(202);
    assert_eq!(server.get(&path).is(200).json()["manifests"].as_array().map(Vec::len), Some(1));
    server.get("/v2/a/referrers/sha256:nonsense").is(400);
}

#[test]
fn a_push_with_a_subject_is_told_that_it_is_listed() {
    let server = Server::start();
    let digest = server.push("a", b"layer");
    let subject = Digest::of(b"nobody knows it");
    let more = format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":1}}"#);
    let body = crate::server::manifest(&digest, 5, &more);
    let put = server.ask("PUT", "/v2/a/manifests/v1", &[("Content-Type", IMAGE)], body.as_bytes()).is(201);
    assert_eq!(put.header("oci-subject"), Some(subject.to_string().as_str()));
}

#[test]
fn more_referrers_than_fit_into_one_manifest_are_behind_a_link() {
    let server = Server::start();
    let subject = Digest::of(b"subject");
    let large = "x".repeat(1_500_000);
    for number in 0..4 {
        let more = format!(
            r#","annotations":{{"n":"{number}","large":"{large}"}},"subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":1}}"#
        );
        server.tag("a", &format!("t{number}"), b"layer", &more);
    }
    let (mut next, mut seen) = (Some(format!("/v2/a/referrers/{subject}")), Vec::new());
    while let Some(path) = next {
        let page = server.get(&path).is(200);
        assert!(page.body.len() < 5 << 20);
        seen.extend(page.json()["manifests"].as_array().unwrap().iter().map(|entry| entry["digest"].to_string()));
        next = page.header("link").map(|link| link.trim_start_matches('<').split('>').next().unwrap().to_owned());
    }
    let count = seen.len();
    seen.dedup();
    assert_eq!((count, seen.len()), (4, 4));
}
