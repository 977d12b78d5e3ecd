// SPDX-License-Identifier: Apache-2.0
//! Debian's docker-compose says by labels what its file has no words for: whether a service is alive and ready.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helper functions")]

use std::process::Output;
use std::time::{Duration, Instant};

use testkit::Daemon;
use testkit::process::command;

const PROJECT: &str = r#"
version: "3.7"
services:
  web:
    image: busybox
    command: ["sh", "-c", "touch /alive /ready; exec sleep 600"]
    restart: always
    stop_signal: SIGKILL
    labels:
      corten.liveness: "LIVENESS"
      corten.readiness: "file=/ready,interval=20ms,retries=2"
"#;

fn compose(daemon: &Daemon, liveness: &str, arguments: &[&str]) -> Output {
    let directory = daemon.path().join("checked");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("docker-compose.yml");
    std::fs::write(&file, PROJECT.replace("LIVENESS", liveness)).unwrap();
    let mut peer = command("docker-compose");
    peer.arg("--no-ansi").arg("-f").arg(file).args(arguments);
    peer.env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path()).current_dir(directory);
    daemon.sandbox().run(move || peer.output()).expect("docker-compose is installed")
}

#[track_caller]
fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_service_of_docker_compose_is_checked_by_its_labels() {
    let daemon = Daemon::with_busybox();
    let liveness = "file=/alive,interval=20ms,retries=2";
    let refused = compose(&daemon, "file=alive", &["up", "-d"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("the label corten.liveness"), "{said}");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");

    let up = compose(&daemon, liveness, &["up", "-d"]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let name = daemon.ok(&["ps", "--format", "{{.Names}}"]);
    let status = |check: &str| daemon.inspect(&name)["State"]["CortenChecks"][check]["Status"].clone();
    wait_until("alive and ready", || status("Liveness") == "healthy" && status("Readiness") == "healthy");
    let listed = compose(&daemon, liveness, &["ps"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("Up (healthy)"), "{listed:?}");
    daemon.ok(&["exec", &name, "rm", "/alive"]);
    wait_until("started again", || daemon.inspect(&name)["RestartCount"].as_i64() > Some(0));
    let down = compose(&daemon, liveness, &["down", "-t", "0"]);
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}
