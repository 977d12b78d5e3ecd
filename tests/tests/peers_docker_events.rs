// SPDX-License-Identifier: Apache-2.0
//! `docker events` as a client of Corten: Docker's command line asks, in its own words, and prints ours word for word.

use testkit::Daemon;
use testkit::process::command;

/// What `docker events` prints of what has happened so far.
#[track_caller]
fn so_far(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut docker = command("docker");
    // Older clients cut times to seconds: a second to come lies behind all that has happened.
    docker.args(["events", "--since=1h", "--until=-1s"]).args(arguments);
    docker.env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path()).env("TZ", "UTC");
    let output = daemon.sandbox().run(move || docker.output()).expect("docker is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_docker_command_line_reads_and_filters_events() {
    let daemon = Daemon::with_busybox();
    let id = daemon.ok(&["run", "-d", "--name", "seen", "--label", "tier=front", "busybox", "sleep", "60"]);
    daemon.ok(&["exec", "seen", "true"]);
    daemon.ok(&["rm", "-f", "seen"]);
    let short = ["--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"];
    let of = |filters: &[&str]| so_far(&daemon, &[filters, &short].concat());
    assert_eq!(of(&["-f", "event=create", "-f", "event=die"]), "container create seen\ncontainer die seen");
    assert_eq!(of(&["-f", "container=seen", "-f", "event=exec_start"]), "container exec_start: true  seen");
    assert_eq!(of(&["-f", "label=tier=front", "-f", "event=kill"]), "container kill seen");
    assert_eq!(of(&["-f", "type=image", "-f", "event=tag"]), "image tag busybox:latest");
    // Without a format, every line is the same as Corten's own, which prints in UTC.
    let ours = daemon.ok(&["events", "--since", "1h", "--until", "0s"]);
    let docker = so_far(&daemon, &[]);
    assert!(docker.contains(&format!("container die {id} (execDuration=")), "{docker}");
    assert_eq!(docker, ours);
}
