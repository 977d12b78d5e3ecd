// SPDX-License-Identifier: Apache-2.0
//! Mirrors, other locations and blocked images.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use errors::{Classify as _, Kind, chain};
use oci::{Digest, ImageRef};
use registry_client::{Client, Credentials, Options, RegistryError};

use crate::server::{Registry, Reply};
use crate::{MANIFEST, content, manifest_reply, options, pull_blob};

fn configured(directory: &Path, text: &str) -> Client {
    let registries_conf: PathBuf = directory.join("registries.conf");
    std::fs::write(&registries_conf, text).unwrap();
    Client::new(Options { registries_conf: Some(registries_conf), ..options() })
}

fn image(name: &str) -> ImageRef {
    name.parse().unwrap()
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_the_rest_come_from_the_next() {
    let body = content(5000);
    let (blob, path) = (body.clone(), Digest::of(&body).to_string());
    // Has the manifest and not the blob.
    let mirror = Registry::start(|request| match request.path.as_str() {
        "/v2/mirrored/app/manifests/v1" => manifest_reply(),
        "/v2/" => Reply::status(200),
        _ => Reply::status(404),
    })
    .await;
    let own = Registry::start(move |request| match request.path.ends_with(&path) {
        true => Reply::ok(blob.clone()),
        false => Reply::status(404),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "[[registry]]\nprefix = 'registry.example/team'\nlocation = '{}/moved'\n\
         [[registry.mirror]]\nlocation = '{}/mirrored'\n",
        own.authority(),
        mirror.authority()
    );
    let client = configured(dir.path(), &text);
    let name = image("registry.example/team/app:v1");
    assert_eq!(client.manifest(&name).await.unwrap().digest, Digest::of(MANIFEST));
    assert!(own.paths().is_empty());
    assert!(pull_blob(&client, &name, &body).await.unwrap() == body);
    assert_eq!(own.paths().last().unwrap(), &format!("/v2/moved/app/blobs/{}", Digest::of(&body)));
    let error = client.manifest(&image("registry.example/team/app:v2")).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::ImageNotFound { .. }) && error.to_string().contains("moved/app:v2"),
        "{error}"
    );
}

#[tokio::test]
async fn a_mirror_that_is_down_costs_its_time_once_and_gets_no_password() {
    let own = Registry::start(|request| match request.path.as_str() {
        "/v2/" => Reply::status(200),
        _ if request.header("authorization").is_none() => {
            Reply::status(401).header("www-authenticate", "Basic realm=x")
        }
        _ => manifest_reply(),
    })
    .await;
    let curious = Registry::start(|request| {
        assert_eq!(request.header("authorization"), None, "the password leaked");
        match request.path.as_str() {
            "/v2/" => Reply::status(200),
            _ => Reply::status(401).header("www-authenticate", "Basic realm=x"),
        }
    })
    .await;
    let silent = Registry::start(|_| Reply::never()).await;
    let dir = tempfile::tempdir().unwrap();
    let registries_conf = dir.path().join("registries.conf");
    let text = format!(
        "[[registry]]\nlocation = '{}'\n[[registry.mirror]]\nlocation = '{}/x'\n[[registry.mirror]]\nlocation = '{}/y'\n",
        own.authority(),
        silent.authority(),
        curious.authority()
    );
    std::fs::write(&registries_conf, text).unwrap();
    let (idle_timeout, connect_timeout) = (Duration::from_millis(300), Duration::from_millis(100));
    let quick =
        Options { registries_conf: Some(registries_conf), idle_timeout, connect_timeout, retries: 0, ..options() };
    let client = Client::new(quick).acting_as(own.authority(), Credentials::password("me", "secret"));
    client.manifest(&own.image("a")).await.unwrap();
    let started = Instant::now();
    for _ in 0..5 {
        client.manifest(&own.image("a")).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_millis(400), "{:?}", started.elapsed());
    assert_eq!(silent.paths().len(), 1);
}

#[tokio::test]
async fn what_is_blocked_is_not_asked_for_and_a_wrong_file_is_said_to_be_wrong() {
    let registry = Registry::start(|_| manifest_reply()).await;
    let dir = tempfile::tempdir().unwrap();
    let client =
        configured(dir.path(), &format!("[[registry]]\nlocation='{}/bad'\nblocked=true\n", registry.authority()));
    let error = client.manifest(&registry.image("bad/app")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::PermissionDenied);
    assert!(chain(&error).contains("blocks"), "{}", chain(&error));
    assert!(registry.paths().is_empty());
    client.manifest(&registry.image("badly/app")).await.unwrap();
    let error = configured(dir.path(), "[[registry]\n").manifest(&registry.image("x")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Routes { .. }) && chain(&error).contains("line 1"), "{}", chain(&error));
}
