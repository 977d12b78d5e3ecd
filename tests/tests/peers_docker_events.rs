// SPDX-License-Identifier: Apache-2.0
//! `docker events` as a client of Corten: Docker's command line asks, in its own words, and prints ours word for word.

use end_to_end::docker_cli::command;
use testkit::{Daemon, Running};

/// What `docker events` prints of what has happened so far.
#[track_caller]
fn so_far(daemon: &Daemon, arguments: &[&str]) -> String {
    // Older clients cut times to seconds: a second to come lies behind all that has happened.
    let mut docker = command(daemon, &[&["events", "--since=1h", "--until=-1s"], arguments].concat());
    docker.env("TZ", "UTC");
    daemon.sandbox().run(move || Running::start(docker, Vec::new())).wait().ok().text().to_owned()
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
