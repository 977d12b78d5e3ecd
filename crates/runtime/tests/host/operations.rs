// SPDX-License-Identifier: Apache-2.0
//! pause, resume, kill, delete, and `exec --cgroup`: what is done to a running container.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// Namespaces without one for processes: they are the host's.
fn without_own_pids(bundle: Bundle) -> Bundle {
    let kinds = ["mount", "uts", "ipc", "network", "cgroup"].map(|kind| json!({ "type": kind }));
    bundle.set("/linux/namespaces", json!(kinds))
}

/// A container that may write to its root.
fn writable(bundle: Bundle) -> Bundle {
    bundle.set("/root/readonly", json!(false))
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() {
    let bundle = writable(Bundle::script("while :; do echo x >> /tmp/out; done")).start();
    let out = bundle.rootfs("tmp/out");
    wait_until("it writes", || length(&out) > 0);
    bundle.oci(&["pause", &bundle.id]).ok();
    let before = length(&out);
    assert_eq!(bundle.state()["status"], "paused");
    let listed: Value = serde_json::from_str(&bundle.oci(&["list", "--format", "json"]).ok()).unwrap();
    assert_eq!(listed[0]["status"], "paused");
    bundle.oci(&["pause", &bundle.id]).fails(1, "is paused");
    bundle.oci(&["delete", &bundle.id]).fails(1, "is paused");
    bundle.exec("true").fails(255, "paused");
    assert_eq!(length(&out), before, "it went on while it was paused");
    bundle.oci(&["resume", &bundle.id]).ok();
    assert_eq!(bundle.state()["status"], "running");
    wait_until("it goes on", || length(&out) > before);
    bundle.oci(&["resume", &bundle.id]).fails(1, "is running");
}

#[test]
fn a_process_executed_in_a_paused_container_runs_when_that_is_resumed() {
    let bundle = writable(Bundle::new(&["sleep", "100"])).start();
    bundle.oci(&["pause", &bundle.id]).ok();
    let args = ["exec", "--ignore-paused", &bundle.id, "touch", "/tmp/executed"];
    let mut child = bundle.command(&args).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "it ended in a paused container");
    assert!(!bundle.rootfs("tmp/executed").exists());
    bundle.oci(&["resume", &bundle.id]).ok();
    assert!(child.wait().unwrap().success());
    assert!(bundle.rootfs("tmp/executed").exists());
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    let bundle = Bundle::new(&["sleep", "100"]).start();
    bundle.oci(&["pause", &bundle.id]).ok();
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    wait_until("it has ended", || bundle.state()["status"] == "stopped");
    bundle.oci(&["pause", &bundle.id]).fails(1, "stopped");
    bundle.oci(&["resume", &bundle.id]).fails(1, "stopped");
    bundle.oci(&["delete", &bundle.id]).ok();
    bundle.left_nothing();
    let bundle = bundle.start();
    bundle.oci(&["pause", &bundle.id]).ok();
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    bundle.left_nothing();
}

#[test]
fn a_created_container_can_be_paused_and_deleted_without_force() {
    let bundle = Bundle::new(&["sleep", "100"]);
    bundle.oci(&["create", &bundle.id]).ok();
    bundle.oci(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.state()["status"], "paused");
    bundle.oci(&["start", &bundle.id]).fails(1, "paused");
    bundle.oci(&["resume", &bundle.id]).ok();
    assert_eq!(bundle.state()["status"], "created");
    bundle.oci(&["delete", &bundle.id]).ok();
    bundle.left_nothing();
}

#[test]
fn what_an_aborted_create_left_does_not_keep_the_id() {
    let bundle = Bundle::new(&["true"]);
    let left = bundle.path().join("state").join(&bundle.id);
    for (force, code) in [(false, 1), (true, 0)] {
        fs::create_dir_all(&left).unwrap();
        let flags: &[&str] = if force { &["--force"] } else { &[] };
        assert_eq!(bundle.oci(&[&["delete"], flags, &[&bundle.id]].concat()).code, Some(code));
        assert!(!left.exists());
    }
    bundle.run().ok();
}

#[test]
fn without_its_own_pid_namespace_all_processes_are_ended() {
    let script = "sleep 100 & sleep 100 & wait";
    for way in ["kill", "delete", "leftovers"] {
        let bundle = without_own_pids(Bundle::script(script)).start();
        let processes =
            || -> Vec<i32> { serde_json::from_str(&bundle.oci(&["ps", "--format", "json", &bundle.id]).ok()).unwrap() };
        wait_until("three processes", || processes().len() == 3);
        match way {
            "kill" => drop(bundle.oci(&["kill", &bundle.id, "KILL"]).ok()),
            "delete" => drop(bundle.oci(&["delete", "--force", &bundle.id]).ok()),
            _ => {
                let first = bundle.state()["pid"].to_string();
                assert!(std::process::Command::new("kill").args(["-9", &first]).status().unwrap().success());
                wait_until("the first has ended", || bundle.state()["status"] == "stopped");
                assert_eq!(processes().len(), 2, "the others live on");
                bundle.oci(&["delete", &bundle.id]).ok();
            }
        }
        if way == "kill" {
            wait_until("all have ended", || processes().is_empty());
            bundle.oci(&["delete", &bundle.id]).ok();
        }
        bundle.left_nothing();
    }
}

#[test]
fn a_signal_can_go_to_all_processes() {
    let script = "trap 'echo first >> /tmp/out' USR1
        (trap 'echo second >> /tmp/out; exit' USR1; echo ready > /tmp/ready; while :; do sleep 0.01; done) &
        while :; do wait; sleep 0.01; done";
    let bundle = writable(Bundle::script(script)).start();
    wait_until("both listen", || bundle.rootfs("tmp/ready").exists());
    bundle.oci(&["kill", "--all", &bundle.id, "USR1"]).ok();
    let out = || fs::read_to_string(bundle.rootfs("tmp/out")).unwrap_or_default();
    wait_until("both heard", || out().contains("first") && out().contains("second"));
    bundle.oci(&["kill", "--all", &bundle.id, "KILL"]).ok();
    wait_until("it has ended", || bundle.state()["status"] == "stopped");
    bundle.oci(&["kill", "--all", &bundle.id]).ok();
    bundle.oci(&["kill", &bundle.id]).fails(1, "stopped");
}

/// The directories of the container's cgroup, with a new one below each.
fn make_below(bundle: &Bundle, name: &str) -> Vec<PathBuf> {
    let made: Vec<PathBuf> = bundle.cgroups().into_iter().map(|group| group.join(name)).collect();
    for group in &made {
        fs::create_dir(group).unwrap();
        // v1's cpuset takes no process before it has processors and memory.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if group.join(file).exists() {
                fs::write(group.join(file), fs::read_to_string(group.parent().unwrap().join(file)).unwrap()).unwrap();
            }
        }
    }
    made
}

#[test]
fn a_process_is_executed_in_a_cgroup_below() {
    let bundle = Bundle::new(&["sleep", "100"]).start();
    let exec =
        |cgroup: &str| bundle.oci(&["exec", "--cgroup", cgroup, &bundle.id, "sh", "-c", "cat /proc/self/cgroup"]);
    exec("/below").fails(255, "below");
    assert!(!make_below(&bundle, "below").is_empty());
    for path in ["below", "/below/"] {
        let out = exec(path).ok();
        assert!(out.lines().all(|line| line.ends_with(":/below")), "{out}");
    }
    for path in ["/", ""] {
        let out = exec(path).ok();
        assert!(out.lines().all(|line| line.ends_with(":/")), "{out}");
    }
    exec("../elsewhere").fails(255, "elsewhere");
    if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap() {
        exec("pids:below").fails(255, "no cgroup v1 hierarchy");
        return;
    }
    let out = exec("pids:below").ok();
    for line in out.lines() {
        let below = line.split(':').nth(1) == Some("pids");
        assert_eq!(line.ends_with(":/below"), below, "{line}");
    }
    exec("nonsense:below").fails(255, "nonsense");
    exec(":below").fails(255, "--cgroup");
}
