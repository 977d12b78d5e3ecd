// SPDX-License-Identifier: Apache-2.0
//! `exec`: its exit codes, and what others see of it.

use std::time::{Duration, Instant};

use testkit::Daemon;

#[test]
fn what_was_never_tried_fails_with_one_and_what_cannot_be_executed_says_so() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "up", "busybox", "sleep", "60"]);
    daemon.ok(&["create", "--name", "made", "busybox", "true"]);
    daemon.ok(&["run", "--name", "ended", "busybox", "true"]);
    for (name, says) in [("made", "created"), ("ended", "exited"), ("nobody", "no such container")] {
        daemon.fails(&["exec", name, "true"], 1).saying(says);
        daemon.fails(&["container", "exec", "-d", name, "true"], 1).saying(says);
    }
    daemon.fails(&["exec", "up", "no-such-command"], 127);
    daemon.fails(&["exec", "up", "/tmp"], 126);
    assert_eq!(daemon.corten(&["exec", "up", "sh", "-c", "exit 125"]).code, 125);
}

#[test]
fn a_container_names_the_execs_that_go_on() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "up",
        "--health-cmd",
        "true",
        "--health-interval",
        "20ms",
        "busybox",
        "sleep",
        "60",
    ]);
    daemon.ok(&["exec", "-d", "up", "sh", "-c", "until [ -e /tmp/end ]; do usleep 10000; done"]);
    let events = ["events", "--since", "1h", "--until", "0s"];
    let told = ["--filter", "container=up", "--format", "{{.Actor.Attributes.execID}} {{.Action}}"];
    let told = daemon.ok(&[&events[..], &told].concat());
    let line = told.lines().find(|line| line.contains("exec_start: sh -c until")).expect("it was told of");
    let id = line.split(' ').next().expect("an id").to_owned();
    let listed = || daemon.inspect("up")["ExecIDs"].as_array().is_some_and(|ids| ids.iter().any(|found| *found == *id));
    assert!(listed(), "{id}");
    daemon.ok(&["exec", "up", "touch", "/tmp/end"]);
    let begun = Instant::now();
    while listed() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Probes come and go, and nothing of them stays.
    let all = || daemon.inspect("up")["ExecIDs"].as_array().map_or(0, Vec::len);
    assert!(all() <= 1, "{}", all());
}
