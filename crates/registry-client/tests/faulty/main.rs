// SPDX-License-Identifier: Apache-2.0
//! The client against a registry that misbehaves in every way this file could think of.

#![allow(clippy::unwrap_used)]

mod download;
mod mirrors;
mod push;
mod ranges;
mod server;
mod shelf;
mod tags;
mod trust;

use std::time::{Duration, Instant};

use base64::Engine as _;
use errors::{Classify as _, Kind};
use oci::{Digest, ImageRef};
use registry_client::{Client, CredentialSource, Credentials, Options, RegistryError, Secret, media_type};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use server::{Registry, Reply};

const MANIFEST: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}"#;

fn options() -> Options {
    Options {
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(5),
        backoff: Duration::from_millis(5),
        credentials: CredentialSource::Anonymous,
        registries_conf: None,
        certificate_directories: Vec::new(),
        ..Options::default()
    }
}

fn client() -> Client {
    Client::new(options())
}

fn with_password() -> Client {
    let credentials = Credentials::password("me", "secret");
    Client::new(Options { credentials: CredentialSource::Fixed(credentials), ..options() })
}

fn manifest_reply() -> Reply {
    Reply::ok(MANIFEST).header("content-type", media_type::OCI_MANIFEST)
}

async fn pull_blob(client: &Client, image: &ImageRef, content: &[u8]) -> Result<Vec<u8>, RegistryError> {
    let mut blob = client.blob(image, Digest::of(content), content.len() as u64).await?;
    let mut all = Vec::new();
    while let Some(chunk) = blob.chunk().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

/// Bytes that differ wherever one looks.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

#[tokio::test]
async fn a_manifest_is_had_by_tag_and_by_digest() {
    let registry = Registry::start(|request| {
        assert!(request.path == "/v2/" || request.header("accept").unwrap().contains(media_type::DOCKER_LIST));
        manifest_reply()
    })
    .await;
    let image = registry.image("a/b:v1");
    let manifest = client().manifest(&image).await.unwrap();
    assert_eq!((manifest.digest, &manifest.body[..]), (Digest::of(MANIFEST), MANIFEST.as_bytes()));
    assert_eq!(manifest.media_type, media_type::OCI_MANIFEST);
    assert_eq!(registry.paths().last().unwrap(), "/v2/a/b/manifests/v1");
    let pinned = registry.image(&format!("a/b@{}", Digest::of(MANIFEST)));
    client().manifest(&pinned).await.unwrap();
    client().check(image.registry()).await.unwrap();
}

#[tokio::test]
async fn content_with_another_digest_is_refused() {
    let registry = Registry::start(|request| match request.path.ends_with("/tagged") {
        true => manifest_reply().header("docker-content-digest", &Digest::of(b"other").to_string()),
        false => manifest_reply(),
    })
    .await;
    for name in [format!("a@{}", Digest::of(b"other")), "a:tagged".to_owned()] {
        let error = client().manifest(&registry.image(&name)).await.unwrap_err();
        assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Corrupt);
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let registry = Registry::start(|_| {
        Reply::status(404).body(r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such \u001b[31mthing"}]}"#)
    })
    .await;
    let image = registry.image("a/b:v1");
    let error = client().manifest(&image).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let text = error.to_string();
    assert!(
        text.contains(&image.to_string()) && text.contains("no such [31mthing") && !text.contains('\u{1b}'),
        "{text}"
    );
    assert!(error.hint().is_some());
    let error = pull_blob(&client(), &image, b"x").await.unwrap_err();
    assert!(matches!(error, RegistryError::BlobNotFound { .. }), "{error}");
}

#[tokio::test]
async fn documents_that_are_no_manifest_are_refused() {
    let registry = Registry::start(|request| match request.path.rsplit('/').next().unwrap() {
        "garbage" => Reply::ok("<html>welcome</html>").header("content-type", media_type::OCI_MANIFEST),
        "both" => Reply::ok(r#"{"schemaVersion":2,"layers":[],"config":{},"manifests":[]}"#),
        "confused" => Reply::ok(MANIFEST).header("content-type", media_type::DOCKER_MANIFEST),
        "index" => Reply::ok(r#"{"schemaVersion":2,"layers":[]}"#).header("content-type", media_type::OCI_INDEX),
        "schema1" => Reply::ok(r#"{"schemaVersion":1}"#),
        "html" => Reply::ok(r#"{"schemaVersion":2}"#).header("content-type", "text/html; charset=utf-8"),
        _ => Reply::ok(r#"{"schemaVersion":2,"manifests":[]}"#).header("content-type", "application/json"),
    })
    .await;
    let ask = async |tag: &str| client().manifest(&registry.image(&format!("a:{tag}"))).await;
    assert!(matches!(ask("garbage").await, Err(RegistryError::Malformed { .. })));
    for tag in ["both", "confused", "index"] {
        assert!(matches!(ask(tag).await, Err(RegistryError::Ambiguous { .. })), "{tag}");
    }
    for tag in ["schema1", "html"] {
        let error = ask(tag).await.unwrap_err();
        assert!(matches!(error, RegistryError::ManifestType { .. }), "{tag}: {error}");
        assert_eq!(error.kind(), Kind::Unsupported);
    }
    assert_eq!(ask("untyped").await.unwrap().media_type, media_type::OCI_INDEX);
}

#[tokio::test]
async fn a_huge_manifest_is_not_read_to_the_end() {
    let registry = Registry::start(|_| Reply::ok(vec![b' '; 6 << 20]).chunked()).await;
    let error = client().manifest(&registry.image("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { limit, .. } if limit == 4 << 20), "{error}");
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_lasting_ones_are_not() {
    let registry = Registry::start(|request| match (request.path.rsplit('/').next().unwrap(), request.nth) {
        ("later", 1) => Reply::status(500),
        ("later", 2) => Reply::status(429).header("retry-after", "0"),
        ("down", _) => Reply::status(502),
        ("limited", _) => Reply::status(429).header("retry-after", "86400"),
        ("denied", _) => Reply::status(403).body(r#"{"errors":[{"code":"DENIED"}]}"#),
        ("teapot", _) => Reply::status(418),
        _ => manifest_reply(),
    })
    .await;
    let ask = async |tag: &str| client().manifest(&registry.image(&format!("a:{tag}"))).await;
    let count = |tag: &str| registry.paths().iter().filter(|path| path.ends_with(tag)).count();
    ask("later").await.unwrap();
    assert_eq!(count("later"), 3);
    assert_eq!(ask("down").await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(count("down"), 4, "once and three repetitions");
    let started = Instant::now();
    let error = ask("limited").await.unwrap_err();
    assert!(matches!(error, RegistryError::RateLimited { wait: Some(wait), .. } if wait.as_secs() == 86400));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(count("limited"), 1, "a day is too long to wait");
    let error = ask("denied").await.unwrap_err();
    assert!(error.kind() == Kind::PermissionDenied && error.to_string().contains("DENIED"), "{error}");
    assert!(matches!(ask("teapot").await.unwrap_err(), RegistryError::Status { .. }));
    assert_eq!((count("denied"), count("teapot")), (1, 1));
}

#[tokio::test]
async fn a_date_to_wait_for_is_understood_and_a_limit_is_remembered() {
    let registry = Registry::start(|request| match (request.path.as_str(), request.nth) {
        ("/v2/", _) => Reply::status(200),
        (path, 1) if path.ends_with("/soon") => {
            Reply::status(429).header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")
        }
        (path, _) if path.ends_with("/late") => {
            Reply::status(503).header("retry-after", "Fri, 31 Dec 2199 23:59:59 GMT")
        }
        _ => manifest_reply().header("ratelimit-limit", "100;w=21600").header("ratelimit-remaining", "7;w=21600"),
    })
    .await;
    let (client, started) = (client(), Instant::now());
    assert_eq!(client.rate_limit(registry.authority()), None);
    client.manifest(&registry.image("a:soon")).await.unwrap();
    let limit = client.rate_limit(registry.authority()).unwrap();
    assert_eq!((limit.limit, limit.remaining, limit.is_nearly_used_up()), (100, 7, true));
    let error = client.manifest(&registry.image("a:late")).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::RateLimited { wait: Some(wait), .. } if wait.as_secs() > 1 << 30),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_given_up() {
    let registry = Registry::start(|request| match request.path.contains("/blobs/") {
        true => Reply::ok(content(1000)).stalls_after(10),
        false if request.path == "/v2/" => Reply::status(200),
        false => Reply::never(),
    })
    .await;
    let (idle_timeout, connect_timeout) = (Duration::from_millis(300), Duration::from_millis(100));
    // Whoever was silent twice is not asked a third time, however often other failures are repeated.
    let quick = Client::new(Options { retries: 3, idle_timeout, connect_timeout, ..options() });
    let started = Instant::now();
    let error = quick.manifest(&registry.image("a")).await.unwrap_err();
    let waited = idle_timeout + 2 * connect_timeout;
    assert!(matches!(error, RegistryError::Silent { after, .. } if after == waited), "{error}");
    assert_eq!(registry.paths().iter().filter(|path| path.contains("/manifests/")).count(), 2);
    let error = pull_blob(&quick, &registry.image("a"), &content(1000)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Silent { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_broken_blob_goes_on_where_it_broke() {
    let whole = content(900_000);
    let sent = whole.clone();
    // Breaks twice; the second answer ignores the range, the third honours it.
    let registry = Registry::start(move |request| {
        if request.path == "/v2/" {
            return Reply::status(200);
        }
        match request.nth {
            1 => Reply::ok(sent.clone()).breaks_after(300_000),
            2 => Reply::ok(sent.clone()).breaks_after(600_000),
            _ => {
                let from: usize = request
                    .header("range")
                    .unwrap()
                    .strip_prefix("bytes=")
                    .unwrap()
                    .trim_end_matches('-')
                    .parse()
                    .unwrap();
                assert!(from > 300_000, "what came is not asked for again");
                let range = format!("bytes {from}-{}/{}", sent.len() - 1, sent.len());
                Reply::status(206).body(sent[from..].to_vec()).header("content-range", &range)
            }
        }
    })
    .await;
    assert!(pull_blob(&client(), &registry.image("a"), &whole).await.unwrap() == whole);
    assert_eq!(registry.paths().len(), 4);
}

#[tokio::test]
async fn a_blob_of_another_size_is_refused() {
    let registry = Registry::start(|request| {
        if request.path == "/v2/" {
            return Reply::status(200);
        }
        match request.path.split('/').nth(2).unwrap() {
            "announced-short" => Reply::ok(content(99)),
            "announced-long" => Reply::ok(content(101)),
            "short" => Reply::ok(content(99)).chunked(),
            "long" => Reply::ok(content(101)).chunked(),
            "always-broken" => Reply::ok(content(100)).breaks_after(50),
            "wrong-range" => match request.header("range") {
                None => Reply::ok(content(100)).breaks_after(50),
                Some(_) => Reply::status(206).body(content(100)).header("content-range", "bytes 0-99/100"),
            },
            other => panic!("{other}"),
        }
    })
    .await;
    for name in ["announced-short", "announced-long", "short", "long"] {
        let error = pull_blob(&client(), &registry.image(name), &content(100)).await.unwrap_err();
        assert!(matches!(error, RegistryError::WrongSize { expected: 100, .. }), "{name}: {error}");
        assert_eq!(error.kind(), Kind::Corrupt);
    }
    let error = pull_blob(&client(), &registry.image("always-broken"), &content(100)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Broken { .. }), "{error}");
    let error = pull_blob(&client(), &registry.image("wrong-range"), &content(100)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Status { .. }), "{error}");
}

#[tokio::test]
async fn a_token_is_fetched_used_and_renewed() {
    let registry = Registry::start(|request| {
        let token = format!("Bearer t{}", request.total_of("/token"));
        match request.path.as_str() {
            "/v2/" => Reply::status(401),
            path if path.starts_with("/token") => {
                assert_eq!(request.path, "/token?x=1&service=some%20service&scope=repository:a/b:pull");
                let expected = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("me:secret"));
                assert_eq!(request.header("authorization"), Some(expected.as_str()));
                Reply::ok(format!(r#"{{"access_token":"t{}","expires_in":1}}"#, request.total_of("/token")))
            }
            // The first token is refused once: it has expired.
            _ if request.header("authorization") == Some(&token) && request.nth != 3 => manifest_reply(),
            _ => {
                let challenge = format!(
                    r#"Bearer realm="http://{}/token?x=1",service="some service""#,
                    request.header("host").unwrap()
                );
                Reply::status(401).header("www-authenticate", &challenge)
            }
        }
    })
    .await;
    let (client, image) = (with_password(), registry.image("a/b:v1"));
    client.manifest(&image).await.unwrap();
    client.manifest(&image).await.unwrap();
    let tokens = registry.paths().iter().filter(|path| path.starts_with("/token")).count();
    assert_eq!(tokens, 2);
}

#[tokio::test]
async fn basic_authentication_works_and_a_refusal_says_what_to_do() {
    let registry = Registry::start(|request| {
        let expected = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("me:secret"));
        match request.header("authorization") {
            Some(value) if value == expected && request.path.contains("/a/") => manifest_reply(),
            _ => Reply::status(401).header("www-authenticate", r#"Basic realm="x""#),
        }
    })
    .await;
    with_password().manifest(&registry.image("a")).await.unwrap();
    let error = with_password().manifest(&registry.image("b")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { had_credentials: true, .. }), "{error}");
    let error = client().manifest(&registry.image("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { had_credentials: false, .. }), "{error}");
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(error.hint().unwrap().contains("corten login"));
}

#[tokio::test]
async fn an_identity_token_is_traded_for_a_token_and_a_registry_token_used_as_it_is() {
    let registry = Registry::start(|request| match (request.path.as_str(), request.header("authorization")) {
        ("/v2/", _) => Reply::status(200),
        ("/token", authorization) => {
            assert_eq!((request.method.as_str(), authorization), ("POST", None));
            let expected = "grant_type=refresh_token&client_id=corten&refresh_token=secret%3D%26\
                            &scope=repository:a:pull&service=s";
            assert_eq!(request.body, expected);
            Reply::ok(r#"{"access_token":"t"}"#)
        }
        (_, Some("Bearer t" | "Bearer given")) => manifest_reply(),
        _ => {
            let host = request.header("host").unwrap();
            Reply::status(401).header("www-authenticate", &format!("Bearer realm=\"http://{host}/token\",service=s"))
        }
    })
    .await;
    for secret in [Secret::Identity("secret=&".into()), Secret::Bearer("given".into())] {
        let credentials = Credentials { username: String::new(), secret };
        let client = client().acting_as(registry.authority(), credentials);
        client.manifest(&registry.image("a")).await.unwrap();
    }
    assert_eq!(registry.paths().iter().filter(|path| *path == "/token").count(), 1);
}

#[tokio::test]
async fn a_login_gets_the_identity_token_that_is_kept_in_place_of_the_password() {
    let registry = Registry::start(|request| match (request.path.as_str(), request.header("authorization")) {
        ("/token?service=s&client_id=corten&offline_token=true", Some(_)) => {
            Reply::ok(r#"{"token":"t","refresh_token":"kept"}"#)
        }
        // A pull asks for no such token, and gets none by accident.
        ("/token?service=s&scope=repository:a:pull", Some(_)) => {
            Reply::ok(r#"{"token":"t","refresh_token":"not asked for"}"#)
        }
        ("/token?service=s&client_id=corten&offline_token=true", None) => {
            Reply::ok(r#"{"token":"t","refresh_token":"of nobody"}"#)
        }
        ("/v2/", Some("Bearer t")) => Reply::status(200),
        (_, Some("Bearer t")) => manifest_reply(),
        _ => {
            let host = request.header("host").unwrap();
            Reply::status(401).header("www-authenticate", &format!("Bearer realm=\"http://{host}/token\",service=s"))
        }
    })
    .await;
    let client = with_password();
    client.manifest(&registry.image("a")).await.unwrap();
    assert_eq!(client.check(registry.authority()).await.unwrap().as_deref(), Some("kept"));
    assert_eq!(self::client().check(registry.authority()).await.unwrap(), None);
}

#[tokio::test]
async fn a_password_is_not_sent_to_an_unsafe_token_service() {
    let registry = Registry::start(|request| {
        let realm = match request.path.split('/').nth(2).unwrap() {
            "remote" => "http://192.0.2.1/token",
            "file" => "file:///etc/passwd",
            "user" => "https://127.0.0.1@192.0.2.1/token",
            _ => "",
        };
        Reply::status(401).header("www-authenticate", &format!("Bearer realm=\"{realm}\""))
    })
    .await;
    for name in ["remote", "file", "user", "none"] {
        let error = with_password().manifest(&registry.image(name)).await.unwrap_err();
        assert!(matches!(error, RegistryError::Challenge { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credentials_along() {
    let body = content(1000);
    let sent = body.clone();
    let other = Registry::start(move |request| {
        assert_eq!(request.header("authorization"), None, "the password leaked");
        Reply::ok(sent.clone())
    })
    .await;
    let (target, sent) = (other.authority().to_owned(), body.clone());
    let registry = Registry::start(move |request| match request.path.as_str() {
        "/v2/" => Reply::status(200),
        "/here" => {
            assert!(request.header("authorization").is_some(), "the same host may know");
            Reply::ok(sent.clone())
        }
        _ if request.header("authorization").is_none() => {
            Reply::status(401).header("www-authenticate", "Basic realm=x")
        }
        path if path.contains("/same/") => Reply::status(302).header("location", "/here"),
        path if path.contains("/loop/") => Reply::status(302).header("location", path),
        path if path.contains("/bad/") => Reply::status(302).header("location", "gopher://x/"),
        _ => Reply::status(307).header("location", &format!("http://{target}/elsewhere")),
    })
    .await;
    for name in ["other", "same"] {
        assert!(pull_blob(&with_password(), &registry.image(name), &body).await.unwrap() == body);
    }
    assert_eq!(other.paths(), ["/elsewhere"]);
    for name in ["loop", "bad"] {
        let error = pull_blob(&with_password(), &registry.image(name), &body).await.unwrap_err();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    // Bound, not listening: refused.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let image: ImageRef = format!("{}/a", socket.local_addr().unwrap()).parse().unwrap();
    let started = Instant::now();
    let error = client().manifest(&image).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(errors::chain(&error).contains("Connection refused"), "{}", errors::chain(&error));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_certificate_must_be_trusted() {
    let registry = Registry::start_tls(|_| manifest_reply()).await;
    let image = registry.image("a");
    let error = client().manifest(&image).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    assert!(error.hint().unwrap().contains("authority"));
    let root = CertificateDer::from_pem_slice(include_bytes!("../tls/ca.pem")).unwrap();
    let trusting = Client::new(Options { extra_roots: vec![root], ..options() });
    assert_eq!(trusting.manifest(&image).await.unwrap().digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image: ImageRef = format!("{}/a", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail ready\r\n").await.unwrap();
        }
    });
    let error = client().manifest(&image).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    server.abort();
}
