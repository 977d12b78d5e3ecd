// SPDX-License-Identifier: Apache-2.0
//! The docker command line pulls whole repositories, and reads what is told of images, networks and the host.

use end_to_end::own_registry::OwnRegistry;
use testkit::Daemon;
use testkit::process::command;

/// What `docker` ends with and prints, asked of this daemon.
fn docker(daemon: &Daemon, arguments: &[&str]) -> (i32, String) {
    let mut docker = command("docker");
    docker.args(arguments).env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path());
    let output = daemon.sandbox().run(move || docker.output()).expect("docker is installed");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).trim().to_owned())
}

#[track_caller]
fn ok(daemon: &Daemon, arguments: &[&str]) -> String {
    let (code, text) = docker(daemon, arguments);
    assert_eq!(code, 0, "docker {arguments:?}: {text}");
    text
}

#[test]
fn the_docker_command_line_pulls_all_tags() {
    let daemon = Daemon::with_busybox();
    let registry = OwnRegistry::start(&daemon);
    let repository = registry.name("app");
    for tag in ["1", "2"] {
        let name = format!("{repository}:{tag}");
        daemon.ok(&["tag", "busybox", &name]);
        ok(&daemon, &["push", "-q", &name]);
        daemon.ok(&["rmi", &name]);
    }
    let pulled = ok(&daemon, &["pull", "-a", &repository]);
    for line in ["1: Pulling from app", "2: Pulling from app", "Digest: sha256:"] {
        assert!(pulled.contains(line), "{line}: {pulled}");
    }
    assert_eq!(pulled.lines().last(), Some(&*repository));
    assert!(pulled.contains(&format!("Status: Downloaded newer image for {repository}:2")), "{pulled}");
    let listed = ok(&daemon, &["images", "--format", "{{.Tag}}", &repository]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let again = ok(&daemon, &["pull", &format!("{repository}:1")]);
    assert!(again.contains(&format!("Status: Image is up to date for {repository}:1")), "{again}");
    // Without the flag the client asks for one tag by its name.
    let (code, text) = docker(&daemon, &["pull", &repository]);
    assert!(code == 1 && text.contains("latest"), "{text}");
}

#[test]
fn the_docker_command_line_reads_what_is_told() {
    let daemon = Daemon::with_busybox();
    let tree = ok(&daemon, &["image", "ls", "--tree"]);
    assert!(tree.contains("busybox:latest") && tree.contains("linux/"), "{tree}");
    let id = ok(&daemon, &["info", "--format", "{{.ID}}"]);
    assert_eq!(id, daemon.ok(&["info", "--format", "{{.ID}}"]));
    let info = ok(&daemon, &["info"]);
    for line in ["Insecure Registries:", "  127.0.0.0/8", "runc version: ", "Operating System: "] {
        assert!(info.contains(line), "{line}: {info}");
    }
    ok(&daemon, &["network", "create", "create"]);
    assert_eq!(ok(&daemon, &["network", "inspect", "-f", "{{.Name}}", "create"]), "create");
    ok(&daemon, &["network", "rm", "create"]);
    let platform = ok(&daemon, &["image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", "busybox"]);
    ok(&daemon, &["rmi", "--force", "--platform", &platform, "busybox"]);
    assert_eq!(ok(&daemon, &["images", "-q"]), "");
}
