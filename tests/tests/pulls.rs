// SPDX-License-Identifier: Apache-2.0
//! Pulls of whole repositories, from the command line and over the API.

use end_to_end::own_registry::OwnRegistry;
use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::ask;

/// A registry whose repository `app` has the tags `a` and `z`, and none of them here.
fn stocked(daemon: &Daemon) -> OwnRegistry<'_> {
    let registry = OwnRegistry::start(daemon);
    for tag in ["a", "z"] {
        let name = registry.name(&format!("app:{tag}"));
        daemon.ok(&["tag", "busybox", &name]);
        daemon.ok(&["push", "-q", &name]);
        daemon.ok(&["rmi", &name]);
    }
    registry
}

/// Puts a build for another machine under this tag: it cannot be pulled to this one.
fn put_foreign(registry: &OwnRegistry<'_>, tag: &str) {
    let config =
        json!({"architecture": "s390x", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).to_string();
    let digest = registry.put_blob("app", config.as_bytes());
    let config =
        json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len()});
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": []});
    registry.put_manifest("app", tag, &manifest);
}

fn tags(daemon: &Daemon, repository: &str) -> Vec<String> {
    let listed = daemon.ok(&["images", "--format", "{{.Tag}}", repository]);
    let mut tags: Vec<String> = listed.lines().map(str::to_owned).collect();
    tags.sort();
    tags
}

/// The lines of an answer's progress.
fn lines(body: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(body);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn said(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["status"].as_str()).collect()
}

#[test]
fn all_tags_are_pulled_and_those_that_fail_are_named_at_the_end() {
    let daemon = Daemon::with_busybox();
    let registry = stocked(&daemon);
    let repository = registry.name("app");
    let pulled = daemon.corten(&["pull", "--all-tags", &repository]).ok();
    assert_eq!(pulled.text(), repository);
    assert!(pulled.stderr.contains("a: Pulling from app"), "{pulled}");
    assert!(pulled.stderr.contains(&format!("Status: Downloaded newer image for {repository}:z")), "{pulled}");
    assert_eq!(tags(&daemon, &repository), ["a", "z"]);

    // One of them fails, and stands between the others.
    put_foreign(&registry, "m");
    daemon.ok(&["rmi", &format!("{repository}:a"), &format!("{repository}:z")]);
    let failed = daemon.fails(&["pull", "-a", &repository], 1);
    let last = failed.stderr.lines().last().unwrap_or_default();
    assert!(failed.stderr.contains("1 of 3 tags") && failed.stderr.contains("m: "), "{failed} {last}");
    assert!(failed.stderr.contains("linux/s390x"), "{failed}");
    assert_eq!(tags(&daemon, &repository), ["a", "z"], "the others are here");

    daemon.fails(&["pull", "-a", &format!("{repository}:a")], 1).saying("--all-tags means all");
    daemon.fails(&["pull", "-a", &registry.name("no/such")], 1).saying("not found");
    // Without the flag it is one tag still, which this repository does not have.
    daemon.fails(&["pull", &repository], 1).saying("app:latest");
}

#[test]
fn a_name_without_a_tag_means_all_to_the_api_as_well() {
    let daemon = Daemon::with_busybox();
    let registry = stocked(&daemon);
    let repository = registry.name("app");
    // Docker's clients of old write a colon behind the name.
    for name in [repository.clone(), format!("{repository}:")] {
        let answer = ask(&daemon, "POST", &format!("/v1.44/images/create?fromImage={name}"), &[], b"");
        assert_eq!(answer.status, 200, "{answer}");
        let lines = lines(&answer.body);
        let from: Vec<&Value> = lines.iter().filter(|line| line["status"] == "Pulling from app").collect();
        assert_eq!(from.iter().map(|line| line["id"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "z"]);
        assert!(said(&lines).iter().any(|line| line.starts_with("Digest: sha256:")), "{answer}");
    }
    assert_eq!(tags(&daemon, &repository), ["a", "z"]);
    let one = ask(&daemon, "POST", &format!("/v1.44/images/create?fromImage={repository}&tag=a"), &[], b"");
    let lines = lines(&one.body);
    assert_eq!(said(&lines).last(), Some(&&*format!("Status: Image is up to date for {repository}:a")), "{one}");
    let none = ask(&daemon, "POST", &format!("/images/create?fromImage={}", registry.name("no/such")), &[], b"");
    none.expect(404);
}
