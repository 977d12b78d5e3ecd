// SPDX-License-Identifier: Apache-2.0
//! Ways around what somebody may do: every kind of address, other spellings of it, and sessions of other repositories.

use oci::Digest;
use registry_server::AccessLog;
use serde_json::{Value, json};

use crate::access::{PUSH, Service, as_user, with_passwords};
use crate::server::{IMAGE, Server, manifest};

/// The registry of `with_passwords`, with an image of alice's in `secret`, and its digest.
fn with_a_secret() -> (Server, Digest) {
    let server = with_passwords(false);
    let alice = |method: &str, path: &str, body: &[u8]| as_user(&server, "alice", "wonder", method, path, body);
    alice("POST", &format!("/v2/secret/{PUSH}"), b"x").is(201);
    let body = manifest(&Digest::of(b"x"), 1, "");
    alice("PUT", "/v2/secret/manifests/v1", body.as_bytes()).is(201);
    (server, Digest::of(body))
}

#[test]
fn nothing_of_a_repository_that_one_may_not_read_is_told() {
    let (server, image) = with_a_secret();
    let blob = Digest::of(b"x");
    for path in [
        "/v2/secret/tags/list".to_owned(),
        "/v2/secret/tags/list?n=1&last=a".to_owned(),
        "/v2/secret/manifests/v1".to_owned(),
        "/v2/secret/manifests/none".to_owned(),
        format!("/v2/secret/manifests/{image}"),
        format!("/v2/secret/blobs/{blob}"),
        format!("/v2/secret/referrers/{image}"),
        format!("/v2/secret/referrers/{image}?artifactType=a/b"),
        "/v2/secret/blobs/uploads/00000000-0000-4000-8000-000000000000".to_owned(),
    ] {
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
            let answer = as_user(&server, "ci", "robot", method, &path, b"");
            assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
            let answer = server.ask(method, &path, &[], b"");
            assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        }
    }
    // A repository that is there and one that is not look the same.
    let refused = |path: &str| as_user(&server, "ci", "robot", "GET", path, b"").is(403).body;
    assert_eq!(refused("/v2/secret/tags/list"), refused("/v2/nowhere/tags/list"));
}

#[test]
fn what_is_in_another_repository_is_not_in_one_that_one_may_read() {
    let (server, image) = with_a_secret();
    let ci = |method: &str, path: &str, body: &[u8]| as_user(&server, "ci", "robot", method, path, body);
    ci("GET", &format!("/v2/team/app/blobs/{}", Digest::of(b"x")), b"").is(404);
    ci("GET", &format!("/v2/team/app/manifests/{image}"), b"").is(404);
    ci("GET", &format!("/v2/team/app/blobs/{image}"), b"").is(404);
    // Nor can it be named there: a manifest that refers to it is not taken, by an index as little as by an image.
    let put = |body: &str, kind: &str| {
        let authorization = format!("Basic {}", "Y2k6cm9ib3Q=");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", kind)];
        server.ask("PUT", "/v2/team/app/manifests/v1", &headers, body.as_bytes())
    };
    assert_eq!(put(&manifest(&Digest::of(b"x"), 1, ""), IMAGE).is(404).code(), "MANIFEST_BLOB_UNKNOWN");
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": IMAGE, "digest": image, "size": 1}]});
    put(&index.to_string(), "application/vnd.oci.image.index.v1+json").is(404);
}

#[test]
fn other_spellings_of_an_address_are_no_way_around_the_policy() {
    let (server, _) = with_a_secret();
    for path in [
        "/v2/team/../secret/manifests/v1",
        "/v2/team/%2e%2e/secret/manifests/v1",
        "/v2/team/x%2f..%2f..%2fsecret/manifests/v1",
        "/v2/team//secret/manifests/v1",
        "/v2/team/app/../../secret/manifests/v1",
        "/v2/%73ecret/manifests/v1",
        "/v2/SECRET/manifests/v1",
        "/v2/secret+/manifests/v1",
        "/v2/team+secret/manifests/v1",
        "/v2/team/app;/../secret/manifests/v1",
        "/v2/team\\..\\secret/manifests/v1",
        "//v2/secret/manifests/v1",
        "/v2/./secret/manifests/v1",
        "/V2/secret/manifests/v1",
        "/v2/secret%00/manifests/v1",
    ] {
        let answer = as_user(&server, "ci", "robot", "GET", path, b"");
        assert!(matches!(answer.status, 400 | 403 | 404), "{path}: {answer:?}");
    }
    // An address with a host is the same address (RFC 9112, section 3.2.2).
    as_user(&server, "ci", "robot", "GET", "http://elsewhere/v2/secret/manifests/v1", b"").is(403);
    as_user(&server, "alice", "wonder", "GET", "http://elsewhere/v2/secret/manifests/v1", b"").is(200);
}

#[test]
fn an_upload_is_its_repositorys_and_nobody_elses() {
    let server = with_passwords(false);
    let alice = |method: &str, path: &str, body: &[u8]| as_user(&server, "alice", "wonder", method, path, body);
    let place = alice("POST", "/v2/secret/blobs/uploads/", b"").is(202).header("location").unwrap().to_owned();
    alice("PATCH", &place, b"mine").is(202);
    let elsewhere = place.replace("/secret/", "/team/app/");
    let finish = |place: &str| format!("{place}?digest={}", Digest::of(b"mine"));
    for user in [("ci", "robot"), ("alice", "wonder")] {
        let ask = |method: &str, path: &str, body: &[u8]| as_user(&server, user.0, user.1, method, path, body);
        assert_eq!(ask("GET", &elsewhere, b"").is(404).code(), "BLOB_UPLOAD_UNKNOWN");
        ask("PATCH", &elsewhere, b"more").is(404);
        ask("PUT", &finish(&elsewhere), b"").is(404);
        ask("DELETE", &elsewhere, b"").is(404);
    }
    for (method, path) in
        [("GET", place.clone()), ("PATCH", place.clone()), ("PUT", finish(&place)), ("DELETE", place.clone())]
    {
        as_user(&server, "ci", "robot", method, &path, b"x").is(403);
    }
    alice("PUT", &finish(&place), b"").is(201);
}

#[test]
fn a_token_is_for_the_repositories_it_names_and_no_more() {
    let (service, server) = Service::start();
    let token = service.token(&json!([
        {"type": "repository", "name": "a/b", "actions": ["pull", "push"]},
        {"type": "repository", "name": "catalog", "actions": ["*"]},
        {"type": "registry", "name": "a/c", "actions": ["*"]},
        {"type": "repository(plugin)", "name": "a/d", "actions": ["*"]},
        {"type": "repository", "name": "a/*", "actions": ["pull"]},
    ]));
    let ask = |method: &str, path: &str| server.ask(method, path, &[("Authorization", &token)], b"x");
    let place = ask("POST", "/v2/a/b/blobs/uploads/").is(202).header("location").unwrap().to_owned();
    for name in ["a", "b", "a/bc", "a/b/c", "a/c", "a/d", "a/x"] {
        ask("GET", &format!("/v2/{name}/tags/list")).is(401);
        ask("POST", &format!("/v2/{name}/{PUSH}")).is(401);
        ask("PATCH", &place.replace("/a/b/", &format!("/{name}/"))).is(401);
    }
    ask("GET", "/v2/_catalog").is(401);
    ask("DELETE", &format!("/v2/a/b/blobs/{}", Digest::of(b"x"))).is(401);
    // To push is not to read elsewhere.
    let catalog = service.token(&json!([{"type": "repository", "name": "catalog", "actions": ["*"]}]));
    server.ask("POST", &format!("/v2/catalog/{PUSH}"), &[("Authorization", &catalog)], b"x").is(201);
    let pusher = service.token(&json!([{"type": "repository", "name": "a/b", "actions": ["push"]}]));
    let mount = format!("/v2/a/b/blobs/uploads/?mount={}", Digest::of(b"x"));
    for from in ["&from=catalog", ""] {
        server.ask("POST", &format!("{mount}{from}"), &[("Authorization", &pusher)], b"").is(202);
    }
    server.ask("GET", &format!("/v2/a/b/blobs/{}", Digest::of(b"x")), &[("Authorization", &pusher)], b"").is(401);
}

#[test]
fn what_is_counted_is_not_for_everybody_who_may_pull() {
    let server = with_passwords(true);
    let pass = |answer: crate::server::Answer| format!("Bearer {}", answer.is(200).json()["token"].as_str().unwrap());
    let nobody = pass(server.get("/v2/_token"));
    let alice = pass(as_user(&server, "alice", "wonder", "GET", "/v2/_token", b""));
    server.get("/metrics").is(401);
    server.ask("GET", "/metrics", &[("Authorization", &nobody)], b"").is(401);
    server.ask("GET", "/metrics", &[("Authorization", &alice)], b"").is(200);
    // A token of nobody's comes in, and no further.
    let (service, server) = Service::start();
    let nobody = service.token_of("", &json!([]));
    server.ask("GET", "/v2/", &[("Authorization", &nobody)], b"").is(200);
    server.ask("GET", "/metrics", &[("Authorization", &nobody)], b"").is(401);
    server.ask("GET", "/metrics", &[("Authorization", &service.token(&json!([])))], b"").is(200);
}

#[test]
fn a_line_of_the_log_is_one_line_and_not_long_whatever_a_client_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = AccessLog::new(std::fs::File::create(&path).unwrap()).unwrap();
    let server = Server::start_with(|options| options.access_log = Some(log));
    server.ask(&"B".repeat(100_000), "/v2/", &[], b"");
    server.get(&format!("/v2/{}", "x".repeat(50_000)));
    server.ask("GET", "/v2/", &[("User-Agent", &"y".repeat(100_000))], b"");
    // The end of a line, and what moves a terminal's cursor: in bytes of their own, and escaped.
    server.say("GET /v2/\u{9b}2J\u{202e}x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".as_bytes());
    server.get("/v2/%0a%1b[2J");
    drop(server);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!((4..=5).contains(&text.lines().count()), "{text}");
    for line in text.lines() {
        serde_json::from_str::<Value>(line).unwrap();
        assert!(line.len() < 2500, "{} bytes: {}", line.len(), &line[..200]);
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
    }
}
