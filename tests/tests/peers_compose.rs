// SPDX-License-Identifier: Apache-2.0
//! Debian's docker-compose and docker as clients of Corten: a project whose services find each other by their names, and
//! networks by hand.

use std::time::{Duration, Instant};

use end_to_end::docker_cli;
use serde_json::Value;
use testkit::Daemon;
use testkit::process::command;

const PROJECT: &str = r#"
version: "3.7"
services:
  web:
    image: busybox
    command: ["sh", "-c", "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www"]
    networks:
      front: {}
      back:
        aliases: [store]
  client:
    image: busybox
    command: ["sh", "-c", "until wget -qO- http://web/; do sleep 0.05; done; exec sleep 600"]
    depends_on: [web]
    environment: [WHO=client]
    labels: {tier: test}
    networks: [front]
  behind:
    image: busybox
    command: ["sh", "-c", "until wget -qO- http://store/; do sleep 0.05; done; exec sleep 600"]
    networks: [back]
networks:
  front: {}
  back:
    internal: true
"#;

/// What docker-compose prints that has this daemon as its Docker.
#[track_caller]
fn run_compose(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut compose = command("docker-compose");
    compose.args(arguments).env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path());
    compose.current_dir(daemon.path());
    let output = daemon.sandbox().run(move || compose.output()).expect("docker-compose is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {stdout}\n{stderr}\n{}", daemon.log());
    stdout
}

#[test]
fn a_project_of_docker_compose_comes_up_and_goes() {
    let daemon = Daemon::with_busybox();
    let directory = daemon.path().join("shop");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("docker-compose.yml");
    std::fs::write(&file, PROJECT).unwrap();
    let file = file.to_string_lossy().into_owned();
    let compose = |arguments: &[&str]| run_compose(&daemon, &[&["--no-ansi", "-f", &file], arguments].concat());
    compose(&["up", "-d"]);
    let listed = compose(&["ps"]);
    for service in ["shop_web_1", "shop_client_1", "shop_behind_1"] {
        let line = listed.lines().find(|line| line.contains(service)).unwrap_or_else(|| panic!("{listed}"));
        assert!(line.contains("Up"), "{listed}");
    }
    for (service, server) in [("client", "web"), ("behind", "store")] {
        // It may only be about to serve.
        let fetch = format!("until wget -qO- http://{server}/; do sleep 0.05; done");
        assert_eq!(compose(&["exec", "-T", service, "sh", "-c", &fetch]), "hello");
    }
    let begun = Instant::now();
    while !compose(&["logs", "--no-color", "client"]).contains("hello") {
        assert!(begun.elapsed() < Duration::from_secs(30), "the client has got nothing");
    }
    // Nothing has changed: nothing is made again.
    let before = daemon.ok(&["ps", "-q", "--no-trunc"]);
    compose(&["up", "-d"]);
    assert_eq!(daemon.ok(&["ps", "-q", "--no-trunc"]), before);
    compose(&["restart", "-t", "0", "web"]);
    assert_eq!(
        compose(&["exec", "-T", "client", "sh", "-c", "until wget -qO- http://web/; do sleep 0.05; done"]),
        "hello"
    );
    compose(&["down", "-t", "0"]);
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    assert_eq!(daemon.ok(&["network", "ls", "-f", "type=custom", "-q"]), "");
}

#[test]
fn the_docker_command_line_manages_networks() {
    let daemon = Daemon::with_busybox();
    let docker = |arguments: &[&str]| docker_cli::docker(&daemon, arguments).trim().to_owned();
    let id = docker(&["network", "create", "--subnet", "10.66.0.0/16", "--label", "a=b", "mine"]);
    assert_eq!(docker(&["network", "ls", "--no-trunc", "-q", "-f", "name=mine"]), id);
    let table = docker(&["network", "ls"]);
    let ours = daemon.ok(&["network", "ls"]);
    assert_eq!(table.lines().collect::<Vec<_>>(), ours.lines().collect::<Vec<_>>());
    assert_eq!(docker(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "mine"]), "10.66.0.0/16");

    docker(&["run", "-d", "--name", "one", "--network", "mine", "--ip", "10.66.7.7", "busybox", "sleep", "600"]);
    docker(&["run", "-d", "--name", "two", "busybox", "sleep", "600"]);
    docker(&["network", "connect", "--alias", "deux", "mine", "two"]);
    docker(&["exec", "one", "ping", "-c", "1", "-W", "5", "10.66.7.7"]);
    assert!(docker(&["exec", "one", "nslookup", "-type=a", "deux"]).contains("Address: 10.66.0."));
    let places = docker(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", "two"]);
    let places: Value = serde_json::from_str(&places).unwrap();
    assert_eq!(places.as_object().unwrap().keys().collect::<Vec<_>>(), ["bridge", "mine"]);
    let members = docker(&["network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "mine"]);
    let mut members: Vec<&str> = members.split_whitespace().collect();
    members.sort_unstable();
    assert_eq!(members, ["one", "two"]);
    assert_eq!(docker(&["ps", "--filter", "network=mine", "--format", "{{.Names}}"]), "two\none");
    docker(&["network", "disconnect", "mine", "two"]);
    docker(&["rm", "-f", "one", "two"]);
    assert_eq!(docker(&["network", "rm", "mine"]), "mine");
    docker(&["network", "create", "unused"]);
    assert!(docker(&["network", "prune", "-f"]).contains("unused"));
}
