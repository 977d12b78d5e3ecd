// SPDX-License-Identifier: Apache-2.0
//! What is in shims' directories, and what becomes of containers whose directory somebody has removed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::Daemon;
use testkit::leftovers::{cgroups_below, remove_cgroups};

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn shim_dir(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.path().join("exec/shims").join(daemon.ok(&["inspect", "--format", "{{.Id}}", name]))
}

/// The shim's process, as it says itself.
fn shim_of(daemon: &Daemon, name: &str) -> i32 {
    let state = std::fs::read(shim_dir(daemon, name).join("state.json")).expect("the shim's state");
    let state: Value = serde_json::from_slice(&state).expect("JSON");
    state["shim"]["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a process")
}

fn is_gone(pid: i32) -> bool {
    // One that nobody has reaped yet has ended as well.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.contains("State:") || status.contains("State:\tZ")
}

#[test]
fn records_of_ended_execs_do_not_pile_up() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "busy", "busybox", "sleep", "600"]);
    for code in 1..6 {
        assert_eq!(daemon.corten(&["exec", "busy", "sh", "-c", &format!("exit {code}")]).code, code);
    }
    let records = || {
        let entries = std::fs::read_dir(shim_dir(&daemon, "busy")).expect("the shim's directory");
        entries
            .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("exec-")))
            .count()
    };
    until("the records are gone", || records() == 0);
    let ends = daemon.ok(&["events", "--since", "1h", "--until", "0s", "--filter", "event=exec_die"]);
    assert_eq!(ends.lines().count(), 5, "and each end was told of: {ends}");
}

#[test]
fn a_shim_whose_directory_was_removed_ends_its_container_when_asked_to() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "lost", "busybox", "sleep", "600"]);
    let shim = shim_of(&daemon, "lost");
    let term = || kill_process(Pid::from_raw(shim).expect("positive"), Signal::TERM).expect("the shim is there");
    // With its directory it minds no signal but SIGKILL: somebody may mean all processes of a service.
    term();
    assert_eq!(daemon.ok(&["exec", "lost", "echo", "there"]), "there");
    std::fs::remove_dir_all(shim_dir(&daemon, "lost")).expect("it is there");
    term();
    assert_eq!(daemon.ok(&["wait", "lost"]), "137");
    until("the shim ends", || is_gone(shim));
    assert_eq!(daemon.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "lost"]), "exited 137");
    daemon.ok(&["start", "lost"]);
    daemon.ok(&["rm", "-f", "lost"]);
}

#[test]
fn a_container_that_the_next_daemon_cannot_reach_is_ended_and_says_why() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "lost", "busybox", "sleep", "600"]);
    let shim = shim_of(&daemon, "lost");
    let pid: i32 = daemon.ok(&["inspect", "--format", "{{.State.Pid}}", "lost"]).parse().expect("a process");
    daemon.kill();
    let shims = daemon.path().join("exec/shims");
    std::fs::remove_dir_all(&shims).expect("it is there");
    daemon.start();
    until("the container and its shim end", || is_gone(pid) && is_gone(shim));
    let state = &daemon.inspect("lost")["State"];
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &137.into()), "{state}");
    assert!(state["Error"].as_str().is_some_and(|why| why.contains("directory was removed")), "{state}");
    daemon.ok(&["start", "lost"]);
    daemon.ok(&["rm", "-f", "lost"]);
}

#[test]
fn a_removed_containers_cgroup_goes_with_the_next_daemon_wherever_it_was() {
    let daemon = Daemon::with_busybox();
    let parent = format!("{}/below", daemon.cgroup());
    daemon.ok(&["run", "-d", "--name", "placed", "--cgroup-parent", &parent, "busybox", "sleep", "600"]);
    let shim = shim_of(&daemon, "placed");
    let dir = shim_dir(&daemon, "placed");
    let pid: i32 = daemon.ok(&["inspect", "--format", "{{.State.Pid}}", "placed"]).parse().expect("a process");
    // As a daemon leaves it that is killed between taking back the record and taking down the container: with a shim
    // that is killed too, nobody else removes the group.
    daemon.kill();
    std::fs::remove_file(dir.join("container.json")).expect("the engine's record");
    kill_process(Pid::from_raw(shim).expect("positive"), Signal::KILL).expect("the shim is there");
    until("the container dies with its shim", || is_gone(pid));
    daemon.start();
    assert!(!dir.exists());
    assert_eq!(cgroups_below(&parent), Vec::<PathBuf>::new());
    // The parent is whose it was.
    remove_cgroups(&parent);
}
