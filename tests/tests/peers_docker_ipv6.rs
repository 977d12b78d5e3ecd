// SPDX-License-Identifier: Apache-2.0
//! The docker command line and docker-compose with networks that have IPv6.

use testkit::Daemon;
use testkit::internet::get_soon;
use testkit::process::command;

const PROJECT: &str = r#"
version: "2.4"
services:
  web:
    image: busybox
    command: ["sh", "-c", "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www"]
    networks: {back: {ipv6_address: "fd00:66::7"}}
  client:
    image: busybox
    command: ["sh", "-c", "until wget -qO- http://[fd00:66::7]/; do sleep 0.05; done; exec sleep 600"]
    networks: [back]
networks:
  back:
    enable_ipv6: true
    ipam: {config: [{subnet: 10.66.0.0/16}, {subnet: "fd00:66::/64"}]}
"#;

/// What a program of the distribution prints that has this daemon as its Docker.
#[track_caller]
fn run(daemon: &Daemon, program: &str, arguments: &[&str]) -> String {
    let mut peer = command(program);
    peer.args(arguments).env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path());
    peer.current_dir(daemon.path());
    let output = daemon.sandbox().run(move || peer.output()).unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {stdout}\n{stderr}\n{}", daemon.log());
    stdout
}

#[test]
fn the_docker_command_line_makes_and_uses_a_network_with_ipv6() {
    let daemon = Daemon::with_busybox();
    let docker = |arguments: &[&str]| run(&daemon, "docker", arguments);
    docker(&["network", "create", "--ipv6", "--subnet", "fd00:67::/64", "--gateway", "fd00:67::9", "mine"]);
    assert_eq!(docker(&["network", "inspect", "-f", "{{.EnableIPv6}}", "mine"]), "true");
    let script = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
    let web = ["run", "-d", "--name", "web", "--network", "mine", "--ip6", "fd00:67::7", "-p", "8080:80"];
    docker(&[&web[..], &["busybox", "sh", "-c", script]].concat());
    assert_eq!(docker(&["port", "web", "80"]), "0.0.0.0:8080\n[::]:8080");
    let gateway: std::net::Ipv6Addr = "fd00:67::9".parse().unwrap();
    assert_eq!(get_soon(daemon.sandbox(), (gateway, 8080), "/").body, "hello\n");
    let listed = docker(&["ps", "--format", "{{.Ports}}"]);
    assert!(listed.contains("0.0.0.0:8080->80/tcp") && listed.contains("[::]:8080->80/tcp"), "{listed}");
    let template = "{{with index .NetworkSettings.Networks \"mine\"}}{{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}} {{.IPv6Gateway}}{{end}}";
    assert_eq!(docker(&["inspect", "-f", template, "web"]), "fd00:67::7/64 fd00:67::9");
    docker(&["run", "-d", "--name", "late", "busybox", "sleep", "600"]);
    docker(&["network", "connect", "--ip6", "fd00:67::8", "mine", "late"]);
    docker(&["exec", "late", "ping", "-6", "-c", "1", "-W", "5", "fd00:67::7"]);
    docker(&["rm", "-f", "web", "late"]);
    docker(&["network", "rm", "mine"]);
}

#[test]
fn a_project_of_docker_compose_has_ipv6() {
    let daemon = Daemon::with_busybox();
    let directory = daemon.path().join("six");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("docker-compose.yml");
    std::fs::write(&file, PROJECT).unwrap();
    let file = file.to_string_lossy().into_owned();
    let compose =
        |arguments: &[&str]| run(&daemon, "docker-compose", &[&["--no-ansi", "-f", &file], arguments].concat());
    compose(&["up", "-d"]);
    assert_eq!(compose(&["exec", "-T", "client", "wget", "-qO-", "http://[fd00:66::7]/"]), "hello");
    let seen = compose(&["exec", "-T", "client", "nslookup", "-type=aaaa", "web"]);
    assert!(seen.contains("fd00:66::7"), "{seen}");
    compose(&["down", "-t", "0"]);
    assert_eq!(daemon.ok(&["network", "ls", "-f", "type=custom", "-q"]), "");
}
