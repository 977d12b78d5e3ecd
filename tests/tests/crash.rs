// SPDX-License-Identifier: Apache-2.0
//! `kill -9` at the worst moment: nothing acknowledged is lost, nothing else stops, nothing is left.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use end_to_end::isolation::pid;
use end_to_end::network::serve;
use rustix::process::{Pid, Signal, kill_process};
use testkit::leftovers::{Leftovers, parent};
use testkit::{Daemon, internet};

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("an id"), Signal::KILL).expect("it lives");
}

/// Whether a process runs: one that has ended and that nobody has waited for yet does not.
fn is_alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn shim_of(daemon: &Daemon, name: &str) -> i32 {
    let shim = parent(i32::try_from(pid(daemon, name)).expect("an id")).expect("it lives");
    assert_ne!(shim, daemon.pid());
    assert!(shim > 1);
    shim
}

#[track_caller]
fn wait_for_status(daemon: &Daemon, name: &str, status: &str) {
    let begun = Instant::now();
    while daemon.inspect(name)["State"]["Status"] != status {
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}: {}", daemon.inspect(name)["State"]);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_daemon_stops_nothing_loses_no_line_and_its_successor_adopts() {
    let host = Leftovers::snapshot();
    let daemon = Daemon::with_busybox();
    let script = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); usleep 4000; done; sleep 60";
    daemon.ok(&["run", "-d", "--name", "logs", "busybox", "sh", "-c", script]);
    daemon.ok(&["run", "-d", "--name", "quiet", "busybox", "sleep", "60"]);
    let before = [pid(&daemon, "logs"), pid(&daemon, "quiet")];
    std::thread::sleep(Duration::from_millis(400));
    daemon.kill();
    std::thread::sleep(Duration::from_millis(500));
    daemon.start();
    assert_eq!([pid(&daemon, "logs"), pid(&daemon, "quiet")], before, "they were started again");
    let begun = Instant::now();
    let expected: String = (0..400).map(|n| format!("line {n}\n")).collect();
    while !daemon.ok(&["logs", "logs"]).ends_with("line 399") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", daemon.ok(&["logs", "logs"]));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.corten(&["logs", "logs"]).stdout, expected, "a line was lost or came twice");
    assert_eq!(daemon.ok(&["exec", "quiet", "echo", "adopted"]), "adopted");
    daemon.ok(&["stop", "-t", "0", "logs", "quiet"]);
    daemon.ok(&["rm", "logs", "quiet"]);
    daemon.assert_no_container_left();
    drop(daemon);
    host.assert_host_unchanged();
}

#[test]
fn an_exit_without_a_daemon_is_reported_by_the_next() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 0.5; echo last words; exit 7"]);
    daemon.ok(&["run", "-d", "--rm", "--name", "vanishes", "busybox", "sleep", "0.5"]);
    daemon.kill();
    std::thread::sleep(Duration::from_millis(1200));
    daemon.start();
    wait_for_status(&daemon, "ends", "exited");
    assert_eq!(daemon.inspect("ends")["State"]["ExitCode"], 7);
    assert_eq!(daemon.ok(&["wait", "ends"]), "7");
    assert_eq!(daemon.ok(&["logs", "ends"]), "last words");
    let begun = Instant::now();
    while daemon.ok(&["ps", "-a"]).contains("vanishes") {
        assert!(begun.elapsed() < Duration::from_secs(20), "--rm was forgotten");
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.assert_no_container_left();
}

#[test]
fn a_published_port_outlives_the_daemon() {
    let daemon = Daemon::with_busybox();
    serve(&daemon, "web", &["-p", "8080:80"], "still here");
    let address = (Ipv4Addr::LOCALHOST, 8080);
    assert_eq!(internet::get_soon(daemon.sandbox(), address, "/").body, "still here\n");
    daemon.kill();
    assert_eq!(internet::get_soon(daemon.sandbox(), address, "/").body, "still here\n");
    daemon.start();
    assert_eq!(internet::get_soon(daemon.sandbox(), address, "/").body, "still here\n");
    daemon.fails(&["run", "--rm", "-p", "8080:80", "busybox", "true"], 125).saying("8080");
    daemon.ok(&["rm", "-f", "web"]);
    assert_eq!(internet::get(daemon.sandbox(), address, "/"), None);
    daemon.assert_no_container_left();
}

#[test]
fn a_killed_shim_ends_its_container_and_no_other() {
    let host = Leftovers::snapshot();
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "orphan", "busybox", "sh", "-c", "sleep 61 & sleep 61"]);
    daemon.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "60"]);
    let (orphan, other) = (pid(&daemon, "orphan"), pid(&daemon, "other"));
    kill(shim_of(&daemon, "orphan"));
    wait_for_status(&daemon, "orphan", "exited");
    assert_eq!(daemon.inspect("orphan")["State"]["ExitCode"], 137);
    assert!(!is_alive(orphan), "the command outlived its shim");
    assert_eq!(pid(&daemon, "other"), other);
    assert_eq!(daemon.ok(&["exec", "other", "echo", "untouched"]), "untouched");
    daemon.ok(&["rm", "-f", "orphan", "other"]);
    daemon.assert_no_container_left();
    drop(daemon);
    host.assert_host_unchanged();
}

#[test]
fn daemon_and_shim_killed_together_are_cleaned_up_by_the_next_daemon() {
    let daemon = Daemon::with_busybox();
    serve(&daemon, "both", &["-p", "8080:80", "--memory", "64m"], "x");
    daemon.ok(&["run", "-d", "--name", "stays", "busybox", "sleep", "60"]);
    let (shim, stays) = (shim_of(&daemon, "both"), pid(&daemon, "stays"));
    daemon.kill();
    kill(shim);
    daemon.start();
    wait_for_status(&daemon, "both", "exited");
    assert_eq!(pid(&daemon, "stays"), stays);
    assert_eq!(internet::get(daemon.sandbox(), (Ipv4Addr::LOCALHOST, 8080), "/"), None, "its port is still published");
    daemon.ok(&["rm", "both"]);
    daemon.ok(&["rm", "-f", "stays"]);
    daemon.assert_no_container_left();
}

#[test]
fn a_daemon_killed_while_containers_come_and_go_leaves_nothing_half_made() {
    let daemon = Daemon::with_busybox();
    for round in 0..5 {
        let clients: Vec<_> = (0..4)
            .map(|n| daemon.spawn(&["run", "--rm", "--name", &format!("c{round}-{n}"), "busybox", "true"]))
            .collect();
        std::thread::sleep(Duration::from_millis(7 * (round + 1)));
        daemon.kill();
        for client in clients {
            // Whatever it was told: it must end.
            client.wait();
        }
        daemon.start();
    }
    let begun = Instant::now();
    while !daemon.ok(&["ps", "-q"]).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", daemon.ok(&["ps", "-a"]));
        std::thread::sleep(Duration::from_millis(20));
    }
    let all = daemon.ok(&["ps", "-aq"]);
    if !all.is_empty() {
        let remove: Vec<&str> = ["rm", "-f"].into_iter().chain(all.split_whitespace()).collect();
        daemon.ok(&remove);
    }
    daemon.corten(&["run", "--rm", "busybox", "true"]).ok();
    daemon.assert_no_container_left();
}

#[test]
fn a_killed_client_leaves_its_container_running() {
    let daemon = Daemon::with_busybox();
    let client = daemon.spawn(&["run", "--name", "survivor", "busybox", "sleep", "60"]);
    let begun = Instant::now();
    while !daemon.ok(&["ps"]).contains("survivor") {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
    kill(client.pid());
    client.wait();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(daemon.inspect("survivor")["State"]["Running"], true, "a client is not a container's owner");
}

#[test]
fn what_was_removed_does_not_come_back_with_the_next_daemon() {
    let daemon = Daemon::with_busybox();
    for round in 0..10 {
        let name = format!("gone{round}");
        daemon.ok(&["run", "-d", "--name", &name, "busybox", "sleep", "60"]);
        daemon.ok(&["rm", "-f", &name]);
        daemon.kill();
        daemon.start();
        assert_eq!(daemon.ok(&["ps", "-aq"]), "", "round {round}");
    }
    daemon.assert_no_container_left();
}

#[test]
fn who_was_stopped_by_a_user_is_not_started_again_by_the_next_daemon() {
    let daemon = Daemon::with_busybox();
    let policy = ["run", "-d", "--restart", "unless-stopped", "--name", "stopped", "busybox", "sleep", "60"];
    daemon.ok(&policy);
    for ending in [&["stop", "-t", "0", "stopped"][..], &["kill", "stopped"]] {
        daemon.ok(ending);
        daemon.kill();
        daemon.start();
        assert_eq!(daemon.inspect("stopped")["State"]["Status"], "exited", "{ending:?}");
        daemon.ok(&["start", "stopped"]);
    }
    daemon.ok(&["rm", "-f", "stopped"]);
    daemon.assert_no_container_left();
}
