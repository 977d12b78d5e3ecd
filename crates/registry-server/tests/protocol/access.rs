// SPDX-License-Identifier: Apache-2.0
//! Who may do what, as it is answered.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use registry_server::{Access, AccessLog, Policy, Tokens, Users};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::server::{Answer, Server};

fn write(directory: &Path, name: &str, content: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A registry of alice, who may do everything, and ci, who may push to `team`.
pub(crate) fn with_passwords(anonymous_pull: bool) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
    let users = format!("alice:{}\nci:{}\n", hash("wonder"), hash("robot"));
    let users = Users::read(&write(directory.path(), "users", &users)).unwrap();
    let policy = json!({"alice": {"**": ["pull", "push", "delete"]}, "ci": {"team/*": ["pull", "push"]}}).to_string();
    let policy = Policy::read(&write(directory.path(), "policy", &policy)).unwrap();
    Server::start_with(|options| {
        options.access = Access::Passwords { users, policy: Some(policy), anonymous_pull };
    })
}

pub(crate) fn as_user(server: &Server, user: &str, password: &str, method: &str, path: &str, body: &[u8]) -> Answer {
    let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    server.ask(method, path, &[("Authorization", &value)], body)
}

pub(crate) const PUSH: &str =
    "blobs/uploads/?digest=sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

#[test]
fn a_password_opens_what_the_policy_allows() {
    let server = with_passwords(false);
    let refused = server.get("/v2/").is(401);
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic realm="));
    assert_eq!(refused.code(), "UNAUTHORIZED");
    as_user(&server, "alice", "wrong", "GET", "/v2/", b"").is(401);
    as_user(&server, "alice", "wonder", "GET", "/v2/", b"").is(200);
    as_user(&server, "ci", "robot", "POST", &format!("/v2/team/app/{PUSH}"), b"x").is(201);
    let denied = as_user(&server, "ci", "robot", "POST", &format!("/v2/other/{PUSH}"), b"x").is(403);
    assert_eq!(denied.code(), "DENIED");
    let blob = format!("/v2/team/app/blobs/{}", &PUSH[22..]);
    as_user(&server, "ci", "robot", "GET", &blob, b"").is(200);
    as_user(&server, "ci", "robot", "DELETE", &blob, b"").is(403);
    server.get(&blob).is(401);
    as_user(&server, "alice", "wonder", "POST", &format!("/v2/secret/{PUSH}"), b"x").is(201);
    let seen = |user, password| as_user(&server, user, password, "GET", "/v2/_catalog", b"").is(200).json();
    assert_eq!(seen("ci", "robot")["repositories"], json!(["team/app"]));
    assert_eq!(seen("alice", "wonder")["repositories"], json!(["secret", "team/app"]));
    as_user(&server, "alice", "wonder", "DELETE", &blob, b"").is(202);
}

#[test]
fn a_blob_is_not_mounted_out_of_a_repository_that_one_may_not_read() {
    let server = with_passwords(false);
    as_user(&server, "alice", "wonder", "POST", &format!("/v2/secret/{PUSH}"), b"x").is(201);
    let digest = &PUSH[22..];
    for from in ["&from=secret", ""] {
        let path = format!("/v2/team/app/blobs/uploads/?mount={digest}{from}");
        as_user(&server, "ci", "robot", "POST", &path, b"").is(202);
        as_user(&server, "ci", "robot", "GET", &format!("/v2/team/app/blobs/{digest}"), b"").is(404);
        as_user(&server, "alice", "wonder", "POST", &path.replace("team/app", "own"), b"").is(201);
    }
}

#[test]
fn everybody_may_pull_where_that_is_allowed() {
    let server = with_passwords(true);
    as_user(&server, "alice", "wonder", "POST", &format!("/v2/a/{PUSH}"), b"x").is(201);
    server.get(&format!("/v2/a/blobs/{}", &PUSH[22..])).is(200);
    assert_eq!(server.get("/v2/_catalog").is(200).json()["repositories"], json!(["a"]));
    as_user(&server, "", "", "GET", &format!("/v2/a/blobs/{}", &PUSH[22..]), b"").is(200);
    as_user(&server, "", "x", "GET", &format!("/v2/a/blobs/{}", &PUSH[22..]), b"").is(401);
    server.get("/v2/").is(401);
    server.ask("POST", &format!("/v2/a/{PUSH}"), &[], b"x").is(401);
    server.ask("DELETE", &format!("/v2/a/blobs/{}", &PUSH[22..]), &[], b"").is(401);
}

#[test]
fn who_pulls_as_nobody_and_who_pushes_both_get_a_pass() {
    let server = with_passwords(true);
    let challenge = |answer: &Answer| answer.header("www-authenticate").unwrap().to_owned();
    let host = [("Host", "registry.example:5000"), ("X-Forwarded-Proto", "https")];
    let refused = challenge(&server.ask("GET", "/v2/", &host, b"").is(401));
    assert_eq!(refused, r#"Bearer realm="https://registry.example:5000/v2/_token",service="registry.example:5000""#);
    let refused = challenge(&server.ask("GET", "/v2/", &[("Host", "a\"b")], b"").is(401));
    assert!(refused.starts_with("Basic "), "a host that is none is not told to anybody: {refused}");
    as_user(&server, "alice", "wonder", "POST", &format!("/v2/a/{PUSH}"), b"x").is(201);
    let blob = format!("/v2/a/blobs/{}", &PUSH[22..]);
    let pass = |answer: Answer| format!("Bearer {}", answer.is(200).json()["token"].as_str().unwrap());
    let (nobody, alice) = (
        pass(server.get("/v2/_token?service=x&scope=repository:a:pull")),
        pass(as_user(&server, "alice", "wonder", "GET", "/v2/_token", b"")),
    );
    let ask = |pass: &str, method, path: &str| server.ask(method, path, &[("Authorization", pass)], b"x");
    for pass in [&nobody, &alice] {
        ask(pass, "GET", "/v2/").is(200);
        ask(pass, "GET", &blob).is(200);
    }
    let refused = ask(&nobody, "POST", &format!("/v2/a/{PUSH}")).is(401);
    assert!(challenge(&refused).ends_with(r#"scope="repository:a:pull,push",error="insufficient_scope""#));
    ask(&alice, "POST", &format!("/v2/b/{PUSH}")).is(201);
    let robot = pass(as_user(&server, "ci", "robot", "GET", "/v2/_token", b""));
    ask(&robot, "POST", &format!("/v2/other/{PUSH}")).is(403);
    let wrong = as_user(&server, "alice", "wrong", "GET", "/v2/_token", b"").is(401);
    assert!(challenge(&wrong).starts_with("Basic "));
    let forged = format!("{}x", &alice[..alice.len() - 1]);
    assert!(challenge(&ask(&forged, "GET", &blob).is(401)).ends_with(r#"error="invalid_token""#));
    ask(&alice, "POST", "/v2/_token").is(405);
    assert_eq!(with_passwords(false).get("/v2/_token").is(404).code(), "UNSUPPORTED");
}

/// A token service's hand.
pub(crate) struct Service(EcdsaKeyPair);

impl Service {
    pub(crate) fn start() -> (Service, Server) {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        // The fixed front of every P-256 key (RFC 5480), then the point.
        let front = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=").unwrap();
        let key = STANDARD.encode([&front, pair.public_key().as_ref()].concat());
        let directory = tempfile::tempdir().unwrap();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n");
        let path = write(directory.path(), "key.pem", &pem);
        let tokens = Tokens::new("https://auth.example/token", "corten", "example", &path).unwrap();
        (Service(pair), Server::start_with(|options| options.access = Access::Tokens(tokens)))
    }

    pub(crate) fn token(&self, access: &Value) -> String {
        self.token_of("alice", access)
    }

    pub(crate) fn token_of(&self, user: &str, access: &Value) -> String {
        let body = json!({"iss": "example", "aud": "corten", "sub": user, "exp": 9_999_999_999_u64, "access": access});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&json!({"typ": "JWT", "alg": "ES256"})), encode(&body));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn a_token_opens_what_it_names() {
    let (service, server) = Service::start();
    let refused = server.ask("POST", &format!("/v2/a/b/{PUSH}"), &[], b"x").is(401);
    assert_eq!(
        refused.header("www-authenticate"),
        Some(r#"Bearer realm="https://auth.example/token",service="corten",scope="repository:a/b:pull,push""#)
    );
    let token = service.token(&json!([{"type": "repository", "name": "a/b", "actions": ["pull", "push"]}]));
    let ask = |method: &str, path: &str| server.ask(method, path, &[("Authorization", &token)], b"x");
    ask("POST", &format!("/v2/a/b/{PUSH}")).is(201);
    ask("GET", &format!("/v2/a/b/blobs/{}", &PUSH[22..])).is(200);
    ask("GET", "/v2/").is(200);
    for (method, path) in [("GET", "/v2/a/tags/list"), ("GET", "/v2/_catalog"), ("DELETE", "/v2/a/b/manifests/v1")] {
        let refused = ask(method, path).is(401);
        assert!(refused.header("www-authenticate").unwrap().ends_with(r#"error="insufficient_scope""#), "{path}");
    }
    let forged = token.replacen('e', "f", 1);
    let refused = server.ask("GET", "/v2/", &[("Authorization", &forged)], b"").is(401);
    assert!(refused.header("www-authenticate").is_some());
    let catalog = service.token(&json!([{"type": "registry", "name": "catalog", "actions": ["*"]}]));
    server.ask("GET", "/v2/_catalog", &[("Authorization", &catalog)], b"").is(200);
}

#[test]
fn requests_are_counted_and_logged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = AccessLog::new(std::fs::File::create(&path).unwrap()).unwrap();
    let server = Server::start_with(|options| options.access_log = Some(log));
    server.push("a", b"content");
    server.get("/v2/a/manifests/none\"\n".trim_end()).is(400);
    server.ask("GET", "/v2/a/tags/list", &[("User-Agent", "te\"st")], b"").is(200);
    let metrics = String::from_utf8(server.get("/metrics").is(200).body).unwrap();
    for line in [
        "corten_registry_requests_total{route=\"uploads\",method=\"POST\",status=\"201\"} 1",
        "corten_registry_requests_total{route=\"tags\",method=\"GET\",status=\"200\"} 1",
        "corten_registry_received_bytes_total 7",
        "corten_registry_blobs 1",
        "corten_registry_blob_bytes 7",
        "corten_registry_repositories 1",
        "corten_registry_uploads 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    drop(server);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    let tags = &lines[2];
    assert_eq!(
        (&tags["method"], &tags["path"], &tags["status"]),
        (&json!("GET"), &json!("/v2/a/tags/list"), &json!(200))
    );
    assert_eq!((&tags["agent"], &tags["sent"]), (&json!("te\"st"), &json!(22)));
    assert!(
        tags["client"].as_str().unwrap().starts_with("127.0.0.1:") && tags["time"].as_str().unwrap().ends_with('Z')
    );
}
