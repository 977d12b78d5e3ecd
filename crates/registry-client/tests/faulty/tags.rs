// SPDX-License-Identifier: Apache-2.0
//! Lists of tags: in pages, and from registries whose lists are wrong.

use errors::{Classify as _, Kind};
use registry_client::RegistryError;

use crate::client;
use crate::server::{Registry, Reply};

const LIST: &str = "/v2/a/b/tags/list";

#[tokio::test]
async fn tags_come_in_pages_and_each_is_told_once() {
    let registry = Registry::start(|request| match request.path.as_str() {
        "/v2/" => Reply::status(200),
        LIST => Reply::ok(r#"{"name":"a/b","tags":["v1","v2"]}"#)
            .header("link", &format!("<{LIST}?last=v2&n=2>; rel=\"next\"")),
        path if path.ends_with("last=v2&n=2") => Reply::ok(r#"{"tags":["v2","latest"]}"#)
            .header("link", &format!("<https://elsewhere.example{LIST}?last=latest>; rel=\"next\"")),
        path if path.ends_with("last=latest") => Reply::ok(r#"{"name":"a/b","tags":null}"#),
        path => panic!("{path}"),
    })
    .await;
    assert_eq!(client().tags(&registry.image("a/b:v7")).await.unwrap(), ["v1", "v2", "latest"]);
}

#[tokio::test]
async fn a_list_that_is_none_or_has_no_end_is_refused() {
    let registry = Registry::start(|request| match request.path.split('/').nth(2).unwrap() {
        "" => Reply::status(200),
        "circle" => Reply::ok(r#"{"tags":["x"]}"#).header("link", "<?last=x>; rel=next"),
        "html" => Reply::ok("<html>"),
        "none" => Reply::status(404).body(r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        "secret" => Reply::status(403),
        _ => Reply::ok(vec![b' '; 5 << 20]).chunked(),
    })
    .await;
    let ask = async |name: &str| client().tags(&registry.image(name)).await.unwrap_err();
    assert!(matches!(ask("circle").await, RegistryError::Endless { .. }));
    assert_eq!(registry.paths().iter().filter(|path| path.contains("circle")).count(), 2, "no page twice");
    assert!(matches!(ask("html").await, RegistryError::Malformed { .. }));
    assert_eq!(ask("none").await.kind(), Kind::NotFound);
    assert_eq!(ask("secret").await.kind(), Kind::PermissionDenied);
    assert!(matches!(ask("huge").await, RegistryError::TooLarge { .. }));
}
