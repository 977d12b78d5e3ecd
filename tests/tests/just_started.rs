// SPDX-License-Identifier: Apache-2.0
//! Whoever dies in the first moment of a container's run, before its shim has written down which process it is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::Daemon;

fn state_file(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.path().join("exec/shims").join(daemon.ok(&["inspect", "--format", "{{.Id}}", name])).join("state.json")
}

/// The shim, and what it has written of the container's process.
fn said(file: &PathBuf) -> (i32, Value) {
    let state: Value = serde_json::from_slice(&std::fs::read(file).expect("the shim's state")).expect("JSON");
    (state["shim"]["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a process"), state["init"].clone())
}

/// A container that runs, with its shim's state as it is in the first moment. Its shim.
fn just_started(daemon: &Daemon, name: &str) -> i32 {
    daemon.ok(&["run", "-d", "--name", name, "busybox", "sleep", "600"]);
    let file = state_file(daemon, name);
    let begun = Instant::now();
    // The shim writes this once, and nobody may come in between.
    while said(&file).1.is_null() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the shim never says which process it is");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).expect("the state")).expect("JSON");
    state["init"].take();
    state["started"].take();
    std::fs::write(&file, state.to_string()).expect("it is written");
    said(&file).0
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("positive"), Signal::KILL).expect("it is there");
}

#[test]
fn a_container_that_was_just_started_is_adopted_as_it_is() {
    let daemon = Daemon::with_busybox();
    just_started(&daemon, "young");
    let seen = |name: &str| {
        let state = &daemon.inspect(name)["State"];
        // The one daemon has its own time, the other the shim's.
        let minute = state["StartedAt"].as_str().expect("a time")[.."2026-01-01T00:00".len()].to_owned();
        (state["Status"].clone(), state["Pid"].clone(), minute)
    };
    let before = seen("young");
    daemon.kill();
    daemon.start();
    assert_eq!(seen("young"), before);
    assert_eq!(daemon.ok(&["exec", "young", "echo", "there"]), "there");
    daemon.ok(&["rm", "-f", "young"]);
    daemon.assert_no_container_left();
}

#[test]
fn a_container_whose_shim_and_daemon_die_with_its_start_has_ended() {
    let daemon = Daemon::with_busybox();
    let shim = just_started(&daemon, "young");
    daemon.kill();
    kill(shim);
    daemon.start();
    let state = &daemon.inspect("young")["State"];
    assert_eq!((&state["Status"], &state["ExitCode"], &state["Pid"]), (&"exited".into(), &137.into(), &0.into()));
    assert!(state["Error"].as_str().is_some_and(|why| why.contains("shim was killed")), "{state}");
    assert_eq!(daemon.cgroups_of_containers(), Vec::<PathBuf>::new());
    daemon.ok(&["rm", "young"]);
    daemon.assert_no_container_left();
}
