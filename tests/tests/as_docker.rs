// SPDX-License-Identifier: Apache-2.0
//! Called through a link `docker`, the program stands in for Docker's command line: what others look for in its answers is there,
//! and it speaks of itself by that name.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helper functions")]

use std::fs;
use std::os::unix::fs::symlink;

use testkit::Daemon;
use testkit::corten::{Finished, Running, binary};
use testkit::http::ask;
use testkit::process::command;

/// The release of Docker's whose API is spoken.
const RELEASE: &str = "29.6.0";

/// Runs the link `docker`, whose daemon is the one at `host`.
#[track_caller]
fn docker_at(daemon: &Daemon, host: &str, arguments: &[&str]) -> Finished {
    let link = daemon.path().join("docker");
    if !link.is_symlink() {
        symlink(binary(), &link).unwrap();
    }
    let mut docker = command(link);
    docker.args(arguments).env_remove("CORTEN_HOST").env("DOCKER_HOST", host).env("DOCKER_CONFIG", daemon.path());
    daemon.sandbox().run(move || Running::start(docker, Vec::new())).wait()
}

#[track_caller]
fn docker(daemon: &Daemon, arguments: &[&str]) -> Finished {
    docker_at(daemon, &daemon.host(), arguments)
}

/// The numbers that a version begins with.
#[track_caller]
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or_else(|error| panic!("{version}: {error}"))).collect()
}

#[test]
fn what_others_ask_docker_before_they_use_it_is_answered() {
    let daemon = Daemon::builder().start();
    let said = |arguments: &[&str]| docker(&daemon, arguments).ok().text().to_owned();
    for flag in ["--version", "-v"] {
        // kind looks for the first words; others for "Docker version NUMBERS, build HEXADECIMAL".
        let line = said(&[flag]);
        let (version, build) =
            line.strip_prefix("Docker version ").and_then(|rest| rest.split_once(", build ")).unwrap();
        assert!(numbers(version) >= vec![20, 10, 0] && build.starts_with(|c: char| c.is_ascii_hexdigit()), "{line}");
        assert!(build.contains("corten-0."), "it says whose it is: {line}");
    }
    assert_eq!(said(&["-D", "--version"]), said(&["--version"]));
    let format = |command: &str, format: &str| said(&[command, "--format", format]);
    // What minikube, GitHub's runner, harnesses and scripts ask.
    for (template, expected) in [
        ("{{.Server.Version}}", RELEASE.to_owned()),
        ("{{.Client.Version}}", RELEASE.to_owned()),
        ("{{.Server.APIVersion}}", "1.55".to_owned()),
        ("{{.Client.APIVersion}}", "1.55".to_owned()),
        ("{{.Client.DefaultAPIVersion}} {{.Client.Context}}", "1.55 default".to_owned()),
        ("{{.Server.Os}}/{{.Server.Arch}}", "linux/amd64".to_owned()),
        ("{{.Client.Os}}/{{.Client.Arch}}", "linux/amd64".to_owned()),
        ("{{.Server.Os}}-{{.Server.Version}}:{{.Server.Platform.Name}}", format!("linux-{RELEASE}:Corten 0.1.0")),
    ] {
        assert_eq!(format("version", template), expected, "{template}");
    }
    let json: serde_json::Value = serde_json::from_str(&format("version", "{{json .}}")).unwrap();
    assert_eq!((&json["Client"]["Version"], &json["Server"]["ApiVersion"]), (&RELEASE.into(), &"1.55".into()));
    // Any line that begins so is taken for the version.
    let text = said(&["version"]);
    let versions: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("Version:")).map(str::trim).collect();
    assert_eq!(versions, [RELEASE, RELEASE], "{text}");
    assert!(
        text.contains("Client: Corten 0.1.0, in place of Docker") && text.contains("Server: Corten 0.1.0"),
        "{text}"
    );

    assert_eq!(
        format("info", "{{.ServerVersion}} {{.OSType}} {{.Swarm.LocalNodeState}}"),
        format!("{RELEASE} linux inactive")
    );
    assert_eq!(format("info", "{{.ClientInfo.Context}}{{.HttpProxy}}"), "default");
    let text = said(&["info"]);
    assert!(text.contains(&format!("\n Server Version: {RELEASE}\n Engine: Corten 0.1.0\n")), "{text}");

    for template in ["{{json .Warnings}}", "{{json .DefaultAddressPools}}", "{{json .ServerErrors}}"] {
        assert_eq!(format("info", template), "null", "{template}");
    }

    // By its own name, and to who asks the daemon itself, it is what it is.
    assert_eq!(daemon.ok(&["--version"]), "corten 0.1.0");
    assert_eq!(daemon.ok(&["version", "--format", "{{.Server.Version}} {{.Client.Version}}"]), "0.1.0 0.1.0");
    assert_eq!(daemon.ok(&["info", "--format", "{{.ServerVersion}}"]), "0.1.0");
    assert_eq!(ask(&daemon, "GET", "/version", &[], b"").expect(200)["Version"], "0.1.0");
}

#[test]
fn it_speaks_of_itself_as_docker() {
    let daemon = Daemon::with_busybox();
    let help = docker(&daemon, &["--help"]).ok();
    assert!(help.text().contains("Usage: docker ") && !help.text().contains("corten "), "{help}");
    let help = docker(&daemon, &["run", "--help"]).ok();
    assert!(help.text().contains("docker run --rm -it") && !help.text().contains("corten run"), "{help}");
    assert_eq!(docker(&daemon, &["help", "run"]).ok().stdout, help.stdout);
    let refused = docker(&daemon, &["inspect", "nobody"]).fails(1);
    assert!(refused.stderr.starts_with("docker: ") && refused.stderr.contains("`docker ps -a`"), "{refused}");
    let refused = docker(&daemon, &["runn", "busybox"]).fails(1);
    assert!(refused.stderr.starts_with("docker: ") && refused.stderr.contains("there is run"), "{refused}");
    docker(&daemon, &["run", "--detatch", "busybox"]).fails(125).saying("there is --detach");
    docker(&daemon, &["version", "--fromat", "x"]).fails(125).saying("there is --format");
    assert!(docker(&daemon, &["completion", "bash"]).ok().stdout.contains("complete -F _docker_complete docker\n"));
    let completed = docker(&daemon, &["__complete", "--", "run", "--rm", "busy"]).ok();
    assert!(completed.stdout.starts_with("busybox:latest\t"), "{completed}");
    let pages = daemon.path().join("man1");
    docker(&daemon, &["man", pages.to_str().unwrap()]).ok();
    let page = fs::read_to_string(pages.join("docker-run.1")).unwrap();
    assert!(page.contains("docker run") && !page.contains("corten run"), "{page}");

    assert_eq!(docker(&daemon, &["run", "--rm", "busybox", "echo", "fine"]).ok().text(), "fine");
    let nobody = docker_at(&daemon, "unix:///nowhere/docker.sock", &["ps"]).fails(1);
    nobody
        .saying("Cannot connect to the Docker daemon at unix:///nowhere/docker.sock")
        .saying("Is the docker daemon running?");
}
