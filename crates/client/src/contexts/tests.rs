// SPDX-License-Identifier: Apache-2.0
//! Contexts as docker has them, and what of their archives and names is refused.

use super::*;

fn store() -> (tempfile::TempDir, ContextStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = ContextStore::new(directory.path().to_owned());
    (directory, store)
}

#[test]
fn contexts_lie_where_docker_looks_for_them() {
    let (directory, store) = store();
    store.create("far", &StoredContext::new("far", "ssh://far", "over there"), &TlsFiles::default()).unwrap();
    // What `printf far | sha256sum` says.
    let meta = directory.path().join("contexts/meta").join(directory_of("far")).join("meta.json");
    let value: Value = serde_json::from_slice(&fs::read(meta).unwrap()).unwrap();
    assert_eq!(value["Endpoints"]["docker"]["Host"], "ssh://far");
    assert_eq!((&value["Name"], &value["Metadata"]["Description"]), (&json!("far"), &json!("over there")));
    assert_eq!(directory_of("default"), "37a8eec1ce19687d132fe29051dca629d164e2c4958ba141d5f4133a33f0688f");
}

#[test]
fn what_others_wrote_stays() {
    let (directory, store) = store();
    fs::write(directory.path().join("config.json"), r#"{"auths":{"r":{}},"psFormat":"x"}"#).unwrap();
    store.create("far", &StoredContext::new("far", "ssh://far", ""), &TlsFiles::default()).unwrap();
    store.set_current(Some("far")).unwrap();
    assert_eq!(store.current().unwrap().as_deref(), Some("far"));
    store.set_current(None).unwrap();
    let text = fs::read_to_string(directory.path().join("config.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"auths": {"r": {}}, "psFormat": "x"}));
    assert!(matches!(store.set_current(Some("nowhere")), Err(ContextError::Missing(_))));
}

#[test]
fn certificates_are_copied_and_go_with_their_context() {
    let (directory, store) = store();
    let file = |name: &str| directory.path().join(name);
    for name in ["a", "c", "k"] {
        fs::write(file(name), name).unwrap();
    }
    let tls = TlsFiles { authority: Some(file("a")), identity: Some((file("c"), file("k"))) };
    let context = StoredContext::new("far", "tcp://far", "");
    let missing = TlsFiles { authority: Some(file("nowhere")), identity: None };
    assert!(store.create("far", &context, &missing).is_err() && store.list().unwrap().0.is_empty());
    store.create("far", &context, &tls).unwrap();
    let kept = store.tls_of(&context).unwrap().unwrap();
    assert_eq!(fs::read(kept.identity.unwrap().1).unwrap(), b"k");

    let mut archive = Vec::new();
    store.export("far", &mut archive).unwrap();
    store.import("copy", archive.as_slice()).unwrap();
    let copy = store.read("copy").unwrap();
    assert_eq!((copy.name.as_str(), copy.host().unwrap()), ("copy", "tcp://far"));
    assert_eq!(fs::read(store.tls_of(&copy).unwrap().unwrap().authority.unwrap()).unwrap(), b"a");
    assert!(matches!(store.import("copy", archive.as_slice()), Err(ContextError::Taken(_))));

    // Docker's archives end with their last byte; what ends before that is cut off.
    let last = archive.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    store.import("short", &archive[..last]).unwrap();
    assert!(store.import("cut", &archive[..last - 1]).is_err());
    store.remove("short").unwrap();

    store.remove("far").unwrap();
    assert_eq!(store.list().unwrap().0.len(), 1);
    assert!(!store.tls("far").unwrap().exists());
}

#[test]
fn foreign_archives_and_names_are_refused_and_leave_nothing() {
    let (_directory, store) = store();
    let archive = |path: &str, text: &str| {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        // Written by hand: the crate refuses to write what leads out.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        archive.append(&header, text.as_bytes()).unwrap();
        archive.into_inner().unwrap()
    };
    for bad in [archive("../../evil", "x"), archive("meta.json", "{"), archive("tls/docker/ca.pem", "x"), vec![1; 512]]
    {
        assert!(store.import("far", bad.as_slice()).is_err());
    }
    assert!(store.list().unwrap().0.is_empty() && !store.tls("far").unwrap().exists());
    for name in ["", "x", ".x", "a/b", "default", "a b", "-ab"] {
        assert!(check_name(name).is_err(), "{name}");
    }
    assert!(check_name("desktop-linux").is_ok());
}

#[test]
fn a_context_that_trusts_anybody_is_refused() {
    let mut context = StoredContext::new("far", "tcp://far", "");
    context.endpoints.insert("docker".into(), json!({"Host": "tcp://far", "SkipTLSVerify": true}));
    assert!(matches!(context.host(), Err(ContextError::Unverified(_))));
}
