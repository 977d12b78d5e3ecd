// SPDX-License-Identifier: Apache-2.0
//! How much memory `corten oci` has at most, and how much of its program a daemon keeps in memory, in the release build.
//! `cargo xtask order` keeps both small.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::process::command;
use testkit::trace::peak;

/// The limit of the project's issue, in bytes.
const LIMIT: u64 = 3_000_000;
/// What a daemon that is asked for all this has of its executable, in KiB: 13,500 where most of its functions lie side by
/// side, 19,500 where they do not.
const PROGRAM: u64 = 16_000;
/// What it has when it has let go of it and nobody asked for anything, in KiB, at most.
const FORGOTTEN: u64 = 4_000;

#[test]
fn create_takes_less_than_three_megabytes() {
    let directory = tempfile::Builder::new().prefix("corten-memory-").tempdir().expect("a directory");
    let root = directory.path().join("rootfs");
    for name in ["bin", "dev", "proc", "sys"] {
        fs::create_dir_all(root.join(name)).expect("a directory");
    }
    fs::copy("/bin/busybox", root.join("bin/true")).expect("busybox-static is installed");
    let oci = |arguments: &[&str]| {
        let mut oci = command(testkit::corten::binary());
        oci.args(["oci", "--root"]).arg(directory.path().join("state")).args(arguments).current_dir(&directory);
        oci
    };
    assert!(oci(&["spec"]).status().expect("it starts").success());
    let path = directory.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    config["linux"]["cgroupsPath"] = json!(directory.path().file_name().and_then(|name| name.to_str()));
    config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 100}});
    // As Docker would have it: some four hundred system calls by name.
    let profile = seccomp::default_profile(&["CAP_KILL".to_owned()].into(), (6, 1));
    config["linux"]["seccomp"] = serde_json::to_value(profile).expect("JSON");
    fs::write(path, config.to_string()).expect("a file");

    // The first compiles the filter, the second finds it.
    for id in ["one", "two"] {
        let most = peak(&oci(&["create", id])).expect("it creates");
        assert!(oci(&["delete", "--force", id]).status().expect("it starts").success());
        assert!(most < LIMIT, "`create {id}` had {most} bytes");
    }
}

#[test]
fn a_daemon_that_runs_containers_has_little_of_its_program_in_memory() {
    let daemon = Daemon::with_busybox();
    let program = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("proc_pid_status(5)");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    // It lets go of what its start alone needed, a second later.
    let begun = Instant::now();
    while program() > FORGOTTEN {
        assert!(begun.elapsed() < Duration::from_secs(30), "the daemon has {} KiB of its program in memory", program());
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..3 {
        daemon.ok(&["run", "--rm", "busybox", "true"]);
        daemon.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
        daemon.ok(&["exec", "one", "true"]);
        daemon.ok(&["ps"]);
        daemon.ok(&["rm", "-f", "one"]);
    }
    assert!(program() < PROGRAM, "the daemon has {} KiB of its program in memory", program());
}
