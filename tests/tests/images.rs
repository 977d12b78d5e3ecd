// SPDX-License-Identifier: Apache-2.0
//! The commands about images that need no other program: names, listings, history, removal.

use std::fs;

use serde_json::{Value, json};
use testkit::Daemon;

/// A daemon with `busybox`, and `made:1`, which is busybox's root with a label and a command, made later.
fn daemon() -> Daemon {
    let daemon = Daemon::with_busybox();
    let archive = daemon.path().join("root.tar");
    fs::write(&archive, testkit::fixtures::busybox::bytes()).expect("a file");
    daemon.ok(&["import", "-c", "LABEL kind=made", "-c", "CMD [\"true\"]", &archive.to_string_lossy(), "made:1"]);
    daemon
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn an_image_has_names_and_goes_with_the_last() {
    let daemon = daemon();
    daemon.ok(&["tag", "made:1", "127.0.0.1:5000/team/made"]);
    daemon.ok(&["image", "tag", "made:1", "made:2"]);
    let id = daemon.ok(&["images", "-q", "--no-trunc", "made:1"]);
    let names = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "label=kind=made"]);
    assert_eq!(lines(&names), ["127.0.0.1:5000/team/made:latest", "made:1", "made:2"]);
    daemon.fails(&["tag", "nothing", "made:3"], 1).saying("nothing");
    daemon.fails(&["tag", "made:1", "Not A Name"], 1).saying("Not A Name");
    daemon.fails(&["rmi", &id], 1).saying("3 names");
    assert_eq!(
        daemon.ok(&["rmi", "--no-prune", "made:1", "127.0.0.1:5000/team/made"]),
        "Untagged: made:1\nUntagged: 127.0.0.1:5000/team/made:latest"
    );
    let gone = daemon.corten(&["image", "rm", "made:2", "nothing"]).fails(1);
    assert_eq!(gone.stdout.trim(), format!("Untagged: made:2\nDeleted: {id}"));
    daemon.ok(&["images", "-q", "busybox"]);
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "here"]), "here", "the shared layer stays");
}

#[test]
fn forced_by_its_id_an_image_loses_all_names() {
    let daemon = daemon();
    daemon.ok(&["tag", "made:1", "made:2"]);
    let id = daemon.ok(&["images", "-q", "made:1"]);
    daemon.ok(&["rmi", "-f", &id]);
    assert_eq!(daemon.ok(&["images", "-q", "made"]), "");
}

#[test]
fn listings_are_filtered() {
    let daemon = daemon();
    let names = |arguments: &[&str]| {
        let all = [&["images", "--format", "{{.Repository}}:{{.Tag}}"], arguments].concat();
        daemon.ok(&all)
    };
    assert_eq!(names(&["made"]), "made:1");
    assert_eq!(names(&["*:1"]), "made:1");
    assert_eq!(names(&["-f", "reference=b*x"]), "busybox:latest");
    assert_eq!(names(&["-f", "since=busybox"]), "made:1");
    assert_eq!(names(&["-f", "before=made:1"]), "busybox:latest");
    assert_eq!(names(&["-f", "label=kind=other"]), "");
    assert_eq!(names(&["-f", "until=1h"]), "");
    assert_eq!(names(&["-f", "dangling=true"]), "");
    let archive = daemon.path().join("root.tar");
    daemon.ok(&["import", "-c", "LABEL kind=newer", &archive.to_string_lossy(), "made:1"]);
    assert_eq!(names(&["-f", "dangling=true"]), "<none>:<none>");
    daemon.fails(&["images", "-f", "colour=red"], 1).saying("colour");
    daemon.fails(&["images", "-f", "before=nothing"], 1).saying("nothing");
    daemon.fails(&["images", "-f", "dangling"], 125).saying("dangling");
    let table = daemon.ok(&["image", "ls", "--format", "table {{.ID}}\\t{{.Tag}}", "busybox"]);
    assert!(table.starts_with("IMAGE ID       TAG\n"), "{table}");
    let rows = daemon.ok(&["images", "--digests", "--format", "json", "busybox"]);
    let row: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!((&row["Repository"], &row["Digest"]), (&json!("busybox"), &json!("<none>")));
}

#[test]
fn history_and_inspect_tell_of_an_image() {
    let daemon = daemon();
    let table = daemon.ok(&["history", "made:1"]);
    assert!(table.starts_with("IMAGE          CREATED"), "{table}");
    let id = daemon.ok(&["images", "-q", "--no-trunc", "made:1"]);
    let row: Value =
        serde_json::from_str(&daemon.ok(&["history", "--no-trunc", "-H=false", "--format", "json", "made:1"])).unwrap();
    assert_eq!((&row["ID"], &row["Comment"]), (&json!(id), &json!("imported")));
    assert!(row["Size"].as_str().unwrap().parse::<u64>().unwrap() > 100_000, "{row}");
    assert_eq!(daemon.ok(&["image", "history", "-q", "--no-trunc", "made:1"]), id);
    let image = daemon.inspect("made:1");
    assert_eq!(image["RepoTags"], json!(["made:1"]));
    assert_eq!(image["Config"]["Labels"], json!({"kind": "made"}));
    assert_eq!((&image["Os"], &image["RootFS"]["Type"]), (&json!("linux"), &json!("layers")));
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert_eq!(image["Descriptor"]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    for field in ["RepoDigests", "Architecture", "Size", "Created", "Author", "Comment"] {
        assert!(image.get(field).is_some_and(|value| !value.is_null()), "{field}: {image}");
    }
    daemon.ok(&["tag", "made:1", "made"]);
    daemon.ok(&["create", "--name", "made", "busybox", "true"]);
    let shown = daemon.ok(&["image", "inspect", "--format", "{{.Id}}", "made"]);
    assert_eq!(shown, id, "of an image, where a container has the same name");
    daemon.ok(&["rm", "made"]);
}
