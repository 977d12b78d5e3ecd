// SPDX-License-Identifier: Apache-2.0
//! Health checks as Docker's command line asks for them and shows them.

use std::time::{Duration, Instant};

use end_to_end::docker_cli::{docker, finish};
use testkit::Daemon;

#[track_caller]
fn wait_for(daemon: &Daemon, arguments: &[&str], expected: &str) {
    let begun = Instant::now();
    loop {
        let found = docker(daemon, arguments);
        if found == expected {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{arguments:?} never said {expected:?} but {found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_docker_command_line_asks_for_checks_and_shows_them() {
    let daemon = Daemon::with_busybox();
    let all = "--health-cmd=test -e /tmp/ok --health-interval=300ms --health-timeout=5s --health-retries=2 \
               --health-start-period=1ms --health-start-interval=50ms";
    let flags = all.split(" --").map(|flag| format!("--{}", flag.trim_start_matches("--")));
    let flags: Vec<String> = flags.collect();
    let mut run = vec!["run", "-d", "--name", "web"];
    run.extend(flags.iter().map(String::as_str));
    run.extend(["busybox", "sleep", "60"]);
    docker(&daemon, &run);
    wait_for(&daemon, &["inspect", "-f", "{{.State.Health.Status}}", "web"], "unhealthy");
    let shown = "{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Timeout}} {{(index .State.Health.Log 0).ExitCode}}";
    assert_eq!(docker(&daemon, &["inspect", "-f", shown, "web"]), "[CMD-SHELL test -e /tmp/ok] 5s 1");
    assert!(docker(&daemon, &["ps", "--format", "{{.Status}}"]).ends_with("(unhealthy)"));
    docker(&daemon, &["exec", "web", "touch", "/tmp/ok"]);
    wait_for(&daemon, &["ps", "-q", "--filter", "health=unhealthy"], "");
    assert!(docker(&daemon, &["ps", "--format", "{{.Status}}", "--filter", "health=healthy"]).ends_with("(healthy)"));
    let told = ["events", "--since=1h", "--until=-1s", "-f", "event=health_status", "--format", "{{.Action}}"];
    wait_for(&daemon, &told, "health_status: unhealthy\nhealth_status: healthy");
    docker(&daemon, &["run", "-d", "--name", "none", "--no-healthcheck", "busybox", "sleep", "60"]);
    assert_eq!(docker(&daemon, &["ps", "--filter", "health=none", "--format", "{{.Names}}"]), "none");
    finish(&daemon, &["run", "--rm", "--health-interval=1us", "busybox", "true"])
        .fails(125)
        .saying("Healthcheck.Interval");
}

#[test]
fn docker_shows_the_worst_of_several_checks_and_what_was_mounted_later() {
    let daemon = Daemon::with_busybox();
    let checks =
        ["--startup", "file=/up,interval=20ms,retries=100000", "--readiness", "file=/ready,interval=20ms,retries=1"];
    daemon.ok(&[&["run", "-d", "--name", "web"], &checks[..], &["busybox", "sleep", "600"]].concat());
    assert!(docker(&daemon, &["ps", "--format", "{{.Status}}"]).ends_with("(health: starting)"));
    docker(&daemon, &["exec", "web", "touch", "/up"]);
    let health = ["inspect", "-f", "{{.State.Health.Status}} {{len .State.Health.Log}}", "web"];
    wait_for(&daemon, &health, "starting 5");
    docker(&daemon, &["exec", "web", "touch", "/ready"]);
    wait_for(&daemon, &health, "healthy 5");
    assert!(docker(&daemon, &["ps", "--format", "{{.Status}}", "--filter", "health=healthy"]).ends_with("(healthy)"));
    docker(&daemon, &["exec", "web", "rm", "/ready"]);
    wait_for(&daemon, &health, "unhealthy 5");
    let told = ["events", "--since=1h", "--until=-1s", "-f", "event=health_status", "--format", "{{.Action}}"];
    wait_for(&daemon, &told, "health_status: healthy\nhealth_status: unhealthy");
    // Docker's update leaves mounts as they are, and its inspect has those of ours.
    daemon.ok(&["update", "--mount", "source=store,target=/store", "web"]);
    docker(&daemon, &["update", "--cpu-shares", "512", "web"]);
    assert_eq!(
        docker(&daemon, &["inspect", "-f", "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}}{{end}}", "web"]),
        "volume store /store"
    );
    let told = [
        "events",
        "--since=1h",
        "--until=-1s",
        "-f",
        "type=volume",
        "-f",
        "event=mount",
        "--format",
        "{{.Actor.ID}} {{.Actor.Attributes.destination}}",
    ];
    wait_for(&daemon, &told, "store /store");
}
