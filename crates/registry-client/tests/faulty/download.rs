// SPDX-License-Identifier: Apache-2.0
//! Files at URLs, from servers that send other things than files.

use std::sync::{Arc, Mutex};

use errors::{Classify as _, Kind, chain};
use registry_client::{Client, DownloadError, Options};

use crate::server::{Registry, Reply};
use crate::{content, options, with_password};

async fn whole(client: &Client, url: &str) -> Result<(Option<u64>, Vec<u8>), DownloadError> {
    let mut download = client.download(url).await?;
    let mut all = Vec::new();
    while let Some(bytes) = download.chunk().await? {
        all.extend_from_slice(&bytes);
    }
    Ok((download.length(), all))
}

#[tokio::test]
async fn a_file_is_had_through_redirects_and_nobody_is_told_who_asks() {
    let file = content(300_000);
    let sent = file.clone();
    let server = Registry::start(move |request| {
        assert_eq!(request.header("authorization"), None);
        match request.path.as_str() {
            "/a" => Reply::status(302).header("location", "b?token=x"),
            "/b?token=x" => Reply::status(307).header("location", "/c"),
            "/chunked" => Reply::ok(sent.clone()).chunked(),
            _ => Reply::ok(sent.clone()),
        }
    })
    .await;
    let url = |path: &str| format!("http://{}{path}", server.authority());
    assert_eq!(whole(&with_password(), &url("/a")).await.unwrap(), (Some(300_000), file.clone()));
    assert_eq!(whole(&with_password(), &url("/chunked")).await.unwrap(), (None, file));
}

#[tokio::test]
async fn what_is_no_file_says_why_and_keeps_the_query_to_itself() {
    let asked: Arc<Mutex<usize>> = Arc::default();
    let counted = Arc::clone(&asked);
    let server = Registry::start(move |request| {
        *counted.lock().unwrap() += 1;
        match request.path.split('?').next().unwrap() {
            "/missing" => Reply::status(404),
            "/broken" => Reply::status(500),
            "/round" => Reply::status(302).header("location", "/round"),
            "/away" => Reply::status(302).header("location", "file:///etc/passwd"),
            "/short" => Reply::ok(content(300_000)).breaks_after(100_000),
            _ => Reply::never(),
        }
    })
    .await;
    let client = Client::new(Options { idle_timeout: std::time::Duration::from_millis(300), ..options() });
    let url = |path: &str| format!("http://{}{path}?secret=1", server.authority());
    for (path, kind, words) in [
        ("/missing", Kind::NotFound, "404"),
        ("/broken", Kind::Unavailable, "500"),
        ("/round", Kind::Corrupt, "too many"),
        ("/away", Kind::Corrupt, "no address of a file"),
        ("/short", Kind::Unavailable, "broke off after 100000 bytes"),
    ] {
        let error = whole(&client, &url(path)).await.expect_err(path);
        assert_eq!(error.kind(), kind, "{path}: {}", chain(&error));
        assert!(chain(&error).contains(words) && !chain(&error).contains("secret"), "{path}: {}", chain(&error));
    }
    assert_eq!(*asked.lock().unwrap(), 4 + 11, "ten redirects are followed");
    for bad in ["ftp://x/y", "x", "/x", "http://", "http://me:secret@x/y", "http://x y"] {
        let error = client.download(bad).await.unwrap_err();
        assert!(matches!(error, DownloadError::Url(_)), "{bad}: {error:?}");
    }
    let error = client.download("http://127.0.0.1:1/x").await.unwrap_err();
    assert!(matches!(error, DownloadError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_secure_connection_is_verified_and_not_given_up() {
    let plain = Registry::start(|_| Reply::ok("x")).await;
    let to = format!("http://{}/x", plain.authority());
    let server = Registry::start_tls(move |_| Reply::status(302).header("location", &to)).await;
    let url = format!("https://{}/a", server.authority());
    let error = crate::client().download(&url).await.unwrap_err();
    assert!(matches!(error, DownloadError::Tls { .. }), "{error:?}");
    let any = Client::new(Options { unverified: true, ..options() });
    let error = any.download(&url).await.unwrap_err();
    assert!(chain(&error).contains("give up the secure connection"), "{}", chain(&error));
    assert!(plain.paths().is_empty());
}
