// SPDX-License-Identifier: Apache-2.0
//! `docker volume`, `docker run -v` and `docker inspect` as clients of Corten.

use end_to_end::docker_cli::{command, docker, finish};
use serde_json::{Value, json};
use testkit::Daemon;
use testkit::corten::Running;

#[test]
fn the_docker_command_line_manages_volumes() {
    let daemon = Daemon::with_busybox();
    assert_eq!(docker(&daemon, &["volume", "create", "--label", "tier=db", "data"]), "data");
    assert_eq!(docker(&daemon, &["volume", "ls"]), "DRIVER    VOLUME NAME\nlocal     data");
    assert_eq!(daemon.ok(&["volume", "ls"]), docker(&daemon, &["volume", "ls"]));
    let ours: Value = serde_json::from_str(&daemon.ok(&["volume", "inspect", "data"])).unwrap();
    let theirs: Value = serde_json::from_str(&docker(&daemon, &["volume", "inspect", "data"])).unwrap();
    assert_eq!(ours, theirs);
    assert_eq!(docker(&daemon, &["volume", "ls", "-q", "-f", "label=tier=web"]), "");
    let write = ["run", "--rm", "-v", "data:/d", "-v", "/anonymous", "busybox", "sh", "-c", "echo x > /d/file"];
    docker(&daemon, &write);
    docker(&daemon, &["run", "--name", "reader", "-v", "data:/d:ro", "-v", "/a", "busybox", "cat", "/d/file"]);
    let points: Value =
        serde_json::from_str(&docker(&daemon, &["inspect", "-f", "{{json .Mounts}}", "reader"])).unwrap();
    assert_eq!(points.as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&points[0]["Mode"], &points[0]["RW"], &points[0]["Driver"]),
        (&json!("ro"), &json!(false), &json!("local"))
    );
    let listed = docker(&daemon, &["ps", "-a", "-f", "volume=data", "--format", "{{.Names}} {{.LocalVolumes}}"]);
    assert_eq!(listed, "reader 2");
    finish(&daemon, &["volume", "rm", "data"]).fails(1).saying("volume is in use - [");
    finish(&daemon, &["volume", "inspect", "none"]).fails(1).saying("no such volume");
    docker(&daemon, &["rm", "-v", "reader"]);
    assert_eq!(docker(&daemon, &["volume", "ls", "-q"]), "data");
    assert!(docker(&daemon, &["volume", "prune", "-f"]).contains("Total reclaimed space: 0B"));
    let pruned = docker(&daemon, &["volume", "prune", "-a", "-f"]);
    assert!(pruned.starts_with("Deleted Volumes:\ndata\n"), "{pruned}");
    let mount = "type=volume,src=memory,dst=/m,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs";
    assert!(docker(&daemon, &["run", "--rm", "--mount", mount, "busybox", "df", "/m"]).contains("tmpfs"));
    assert!(docker(&daemon, &["system", "df", "-v"]).contains("memory"));
    docker(&daemon, &["volume", "rm", "memory"]);
}

#[test]
fn the_docker_command_line_copies() {
    let daemon = Daemon::with_busybox();
    docker(&daemon, &["create", "--name", "box", "-v", "data:/data", "busybox", "cat", "/data/new/file"]);
    let tree = daemon.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "here\n").unwrap();
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    docker(&daemon, &["cp", &text(&tree), "box:/data/new"]);
    assert_eq!(docker(&daemon, &["start", "-a", "box"]), "here");
    docker(&daemon, &["cp", "box:/data/new/.", &text(&daemon.path().join("back"))]);
    assert_eq!(std::fs::read_to_string(daemon.path().join("back/file")).unwrap(), "here\n");
    docker(&daemon, &["cp", "-L", "box:/bin/sh", &text(&daemon.path().join("shell"))]);
    assert!(std::fs::metadata(daemon.path().join("shell")).unwrap().len() > 100_000);
    finish(&daemon, &["cp", "box:/nothing", "-"]).fails(1).saying("/nothing");
    finish(&daemon, &["cp", &text(&tree), "box:/etc/passwd"]).fails(1).saying("cannot copy directory");
}

#[test]
fn before_api_1_42_a_pruning_takes_volumes_with_a_name() {
    let daemon = Daemon::with_busybox();
    for (version, left) in [("1.42", "named"), ("1.41", "")] {
        docker(&daemon, &["volume", "create", "named"]);
        let mut prune = command(&daemon, &["volume", "prune", "-f"]);
        prune.env("DOCKER_API_VERSION", version);
        daemon.sandbox().run(move || Running::start(prune, Vec::new())).wait().ok();
        assert_eq!(docker(&daemon, &["volume", "ls", "-q"]), left, "{version}");
    }
}
