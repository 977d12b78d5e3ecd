// SPDX-License-Identifier: Apache-2.0
//! Docker's command line with a daemon whose containers are in user namespaces.

use end_to_end::docker_cli::{docker, finish};
use testkit::Daemon;

#[test]
fn the_docker_command_line_remaps() {
    const IDS: &str = "dockremap:2000000:65536\n";
    let daemon =
        Daemon::builder().etc("subuid", IDS).etc("subgid", IDS).argument("--userns-remap").argument("default").start();
    daemon.import_busybox();
    assert!(docker(&daemon, &["info", "-f", "{{.SecurityOptions}}"]).contains("name=userns"));
    let map = docker(&daemon, &["run", "--rm", "busybox", "cat", "/proc/self/uid_map"]);
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "2000000", "65536"], "the ids that Docker has left");
    docker(&daemon, &["run", "-d", "--name", "one", "-v", "data:/data", "-p", "18079:80", "busybox", "sleep", "60"]);
    docker(&daemon, &["exec", "one", "sh", "-c", "echo hello > /data/f && chown 1000:1001 /data/f"]);
    docker(&daemon, &["cp", "-a", "one:/data/f", &daemon.path().join("f").display().to_string()]);
    docker(&daemon, &["cp", &daemon.path().join("f").display().to_string(), "one:/copied"]);
    assert_eq!(docker(&daemon, &["exec", "one", "cat", "/copied"]), "hello");
    assert_eq!(docker(&daemon, &["diff", "one"]).lines().filter(|line| line.contains("/copied")).count(), 1);
    assert_eq!(docker(&daemon, &["port", "one", "80"]).lines().next(), Some("0.0.0.0:18079"));
    docker(&daemon, &["commit", "one", "committed"]);
    let host = ["run", "--rm", "--userns", "host", "-v", "data:/data", "committed", "stat", "-c", "%u:%g", "/data/f"];
    assert_eq!(docker(&daemon, &host), "1000:1001");
    for flags in [&["--privileged"][..], &["--network", "host"], &["--pid", "host"]] {
        finish(&daemon, &[&["run", "--rm"], flags, &["busybox", "true"]].concat()).fails(125).saying("--userns host");
        docker(&daemon, &[&["run", "--rm", "--userns", "host"], flags, &["busybox", "true"]].concat());
    }
    // A block for one is not enough for two.
    finish(&daemon, &["run", "--rm", "--userns", "auto", "busybox", "true"]).fails(125).saying("invalid USER mode");
    daemon.fails(&["run", "--rm", "--userns", "auto", "busybox", "true"], 125).saying("no block of 65536");
    docker(&daemon, &["rm", "-f", "one"]);
}
