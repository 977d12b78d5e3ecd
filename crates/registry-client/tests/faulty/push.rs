// SPDX-License-Identifier: Apache-2.0
//! Pushing to a registry whose uploads go wrong in every way this file could think of.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use errors::{Classify as _, Kind};
use http::Method;
use oci::Digest;
use registry_client::{Client, Options, RegistryError, Source, media_type};

use crate::server::{Registry, Reply};
use crate::shelf::{Fault, Shelf};
use crate::{client, content, options, with_password};

async fn push(client: &Client, shelf: &Shelf, bytes: &[u8]) -> Result<(), RegistryError> {
    let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
    client.push_blob(&shelf.image("a/b"), digest, size, Arc::new(bytes.to_vec()), &|_| {}).await
}

/// What is on the shelf must be what was sent, and no session may be left behind.
fn assert_stored(shelf: &Shelf, bytes: &[u8]) {
    assert!(shelf.state.lock().unwrap().blobs.get(&Digest::of(bytes)).is_some_and(|stored| stored == bytes));
}

#[tokio::test]
async fn a_blob_is_pushed_in_one_piece_and_its_progress_is_told() {
    let shelf = Shelf::start(&[], None).await;
    let bytes = content(3_000_000);
    let image = shelf.image("a/b");
    assert!(!client().blob_exists(&image, Digest::of(&bytes)).await.unwrap());
    let furthest = AtomicU64::new(0);
    let heard = |sent| {
        furthest.fetch_max(sent, Ordering::Relaxed);
    };
    let source = Arc::new(bytes.clone());
    client().push_blob(&image, Digest::of(&bytes), bytes.len() as u64, source, &heard).await.unwrap();
    assert_stored(&shelf, &bytes);
    assert_eq!(furthest.load(Ordering::Relaxed), 3_000_000);
    assert!(client().blob_exists(&image, Digest::of(&bytes)).await.unwrap());
    assert_eq!((shelf.count(&Method::PUT, "session"), shelf.count(&Method::PATCH, "")), (1, 0));
    push(&client(), &shelf, b"").await.unwrap();
    assert_stored(&shelf, b"");
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_broke() {
    let shelf = Shelf::start(&[Fault::BreaksAfter(1_000_000), Fault::BreaksAfter(700_000)], None).await;
    let bytes = content(4_000_000);
    push(&client(), &shelf, &bytes).await.unwrap();
    assert_stored(&shelf, &bytes);
    let state = shelf.state.lock().unwrap();
    let ranges: Vec<_> = state.requests.iter().filter(|(method, ..)| method == Method::PUT).collect();
    let ranges: Vec<_> = ranges.iter().map(|(_, _, range)| range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("1000000-3999999"), Some("1700000-3999999")]);
    assert!(state.requests.iter().filter(|(method, ..)| method == Method::POST).count() == 1);
}

#[tokio::test]
async fn an_upload_that_the_registry_has_forgotten_begins_anew() {
    let shelf = Shelf::start(&[Fault::Forgets(500_000), Fault::Status(404)], None).await;
    let bytes = content(2_000_000);
    push(&client(), &shelf, &bytes).await.unwrap();
    assert_stored(&shelf, &bytes);
    assert_eq!(shelf.count(&Method::POST, ""), 3);
}

#[tokio::test]
async fn a_lost_answer_is_not_a_lost_blob() {
    let shelf = Shelf::start(&[Fault::LosesTheAnswer], None).await;
    let bytes = content(100_000);
    push(&client(), &shelf, &bytes).await.unwrap();
    assert_stored(&shelf, &bytes);
    assert_eq!(shelf.count(&Method::PUT, "session"), 1, "it is not sent again");
}

#[tokio::test]
async fn a_registry_with_a_limit_gets_chunks() {
    let limit = 16 << 20;
    let shelf = Shelf::start(&[], Some(limit)).await;
    let bytes = content(limit * 2 + 1000);
    push(&client(), &shelf, &bytes).await.unwrap();
    assert_stored(&shelf, &bytes);
    assert_eq!(shelf.count(&Method::PATCH, "session"), 2);
    let small = Shelf::start(&[], Some(1000)).await;
    let error = push(&client(), &small, &content(2000)).await.unwrap_err();
    assert!(matches!(&error, RegistryError::PushRefused { status, .. } if status.as_u16() == 413), "{error}");
    assert_eq!(error.kind(), Kind::NoSpace);
}

#[tokio::test]
async fn an_upload_that_fails_for_ever_is_given_up() {
    for fault in [Fault::Status(500), Fault::Status(429), Fault::BreaksAfter(10), Fault::Forgets(10)] {
        let shelf = Shelf::start(&[fault; 20], None).await;
        let started = Instant::now();
        let error = push(&client(), &shelf, &content(100_000)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{fault:?}: {error}");
        assert_eq!(shelf.count(&Method::PUT, "session"), 4, "{fault:?}: once and three repetitions");
        assert!(started.elapsed() < Duration::from_secs(5), "{fault:?}");
    }
}

#[tokio::test]
async fn an_upload_that_stalls_is_noticed() {
    let shelf = Shelf::start(&[Fault::Stalls], None).await;
    let (idle_timeout, connect_timeout) = (Duration::from_millis(300), Duration::from_millis(100));
    let quick = Client::new(Options { idle_timeout, connect_timeout, ..options() });
    let started = Instant::now();
    // Larger than what the sockets between the two hold.
    let bytes = content(32 << 20);
    push(&quick, &shelf, &bytes).await.unwrap();
    assert_stored(&shelf, &bytes);
    assert!(started.elapsed() < Duration::from_secs(20));
    let silent = Shelf::start(&[Fault::Stalls; 9], None).await;
    let error = push(&quick, &silent, &content(1000)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Silent { .. }), "{error}");
}

#[tokio::test]
async fn a_blob_with_another_digest_is_refused_once_and_its_session_given_back() {
    let shelf = Shelf::start(&[], None).await;
    let image = shelf.image("a");
    let source = Arc::new(b"this".to_vec());
    let error = client().push_blob(&image, Digest::of("that"), 4, source, &|_| {}).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::PushRefused { .. }) && error.to_string().contains("DIGEST_INVALID"),
        "{error}"
    );
    assert_eq!(shelf.count(&Method::PUT, ""), 1);
    let lying = Shelf::start(&[Fault::Lies], None).await;
    let error = push(&client(), &lying, b"this").await.unwrap_err();
    assert!(matches!(error, RegistryError::StoredOther { .. }), "{error}");
    let denied = Shelf::start(&[Fault::Status(403)], None).await;
    let error = push(&client(), &denied, b"this").await.unwrap_err();
    assert_eq!(error.kind(), Kind::PermissionDenied);
    assert_eq!(denied.count(&Method::DELETE, "session"), 1, "the registry may forget the upload");
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_the_error() {
    struct Broken;
    impl Source for Broken {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let shelf = Shelf::start(&[], None).await;
    let started = Instant::now();
    let error = client().push_blob(&shelf.image("a"), Digest::of(""), 9, Arc::new(Broken), &|_| {}).await.unwrap_err();
    assert!(errors::chain(&error).contains("the disk is gone"), "{}", errors::chain(&error));
    let short = Arc::new(b"short".to_vec());
    let error = client().push_blob(&shelf.image("a"), Digest::of(""), 9, short, &|_| {}).await.unwrap_err();
    assert!(matches!(error, RegistryError::Source { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "it is not tried again");
}

#[tokio::test]
async fn a_mount_moves_no_byte_and_falls_back_to_an_upload() {
    let shelf = Shelf::start(&[], None).await;
    push(&client(), &shelf, b"shared").await.unwrap();
    let (image, digest) = (shelf.image("new"), Digest::of("shared"));
    assert!(client().mount_blob(&image, digest, "other").await.unwrap());
    assert!(!client().mount_blob(&image, digest, "nowhere").await.unwrap());
    assert_eq!(shelf.count(&Method::DELETE, "session"), 1, "the upload that began instead is given back");
}

#[tokio::test]
async fn a_manifest_is_put_under_its_tag_and_its_digest_compared() {
    let shelf = Shelf::start(&[], None).await;
    let digest = client().push_manifest(&shelf.image("a:v1"), media_type::OCI_MANIFEST, "{}".into()).await.unwrap();
    assert_eq!(digest, Digest::of("{}"));
    assert_eq!(shelf.state.lock().unwrap().manifests["v1"], b"{}");
    let liar = Registry::start(|request| match request.path.as_str() {
        "/v2/" => Reply::status(200),
        path if path.ends_with("/lie") => {
            Reply::status(201).header("docker-content-digest", &Digest::of("lie").to_string())
        }
        path if path.ends_with("/later") && request.nth == 1 => Reply::status(500),
        path if path.ends_with("/later") => Reply::status(201),
        _ => Reply::status(400).body(r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#),
    })
    .await;
    let put = async |tag: &str| {
        client().push_manifest(&liar.image(&format!("a:{tag}")), media_type::OCI_MANIFEST, "{}".into()).await
    };
    assert!(matches!(put("lie").await.unwrap_err(), RegistryError::StoredOther { .. }));
    let error = put("incomplete").await.unwrap_err();
    assert!(error.to_string().contains("MANIFEST_BLOB_UNKNOWN"), "{error}");
    put("later").await.unwrap();
}

#[tokio::test]
async fn a_token_is_asked_for_what_is_done_and_no_more() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let registry = Registry::start(move |request| match request.path.as_str() {
        "/v2/" => Reply::status(200),
        path if path.starts_with("/token") => {
            seen.lock().unwrap().push(path.split_once('?').unwrap().1.to_owned());
            // Nobody may mount from there.
            if path.contains("secret") { Reply::status(401) } else { Reply::ok(r#"{"token":"t"}"#) }
        }
        _ if request.header("authorization").is_none() => {
            let host = request.header("host").unwrap();
            Reply::status(401).header("www-authenticate", &format!("Bearer realm=\"http://{host}/token\",service=s"))
        }
        path if path.contains("uploads") => Reply::status(201),
        _ => Reply::status(404),
    })
    .await;
    let (client, image) = (with_password(), registry.image("a"));
    let digest = Digest::of("x");
    assert!(!client.blob_exists(&image, digest).await.unwrap());
    assert!(!client.blob_exists(&image, digest).await.unwrap());
    assert!(client.mount_blob(&image, digest, "b").await.unwrap());
    assert!(!client.mount_blob(&image, digest, "secret").await.unwrap());
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "service=s&scope=repository:a:pull,push",
            "service=s&scope=repository:a:pull,push&scope=repository:b:pull",
            "service=s&scope=repository:a:pull,push&scope=repository:secret:pull",
        ]
    );
}
