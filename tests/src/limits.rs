// SPDX-License-Identifier: Apache-2.0
//! Limits, as the kernel keeps them.

use std::time::{Duration, Instant};

use testkit::{Daemon, cgroup};

use crate::isolation::pid;

const MIB: u64 = 1024 * 1024;

/// A disk of this machine, by its device file.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn disk() -> String {
    let names = std::fs::read_dir("/sys/block").expect("mounted").map(|entry| entry.expect("an entry").file_name());
    let mut names = names.map(|name| name.to_string_lossy().into_owned());
    let is_disk = |name: &String| ["vd", "sd", "xvd", "nvme", "mmcblk"].iter().any(|kind| name.starts_with(kind));
    format!("/dev/{}", names.find(is_disk).expect("a machine with a disk"))
}

/// Over `--memory` the kernel ends it; `inspect` says why; a neighbour with the same appetite and no limit lives.
pub fn a_container_over_its_memory_is_killed_and_inspect_says_so() {
    let daemon = Daemon::with_busybox();
    // The shell holds what it reads: 24 MiB.
    let script = "x=$(head -c 25165824 /dev/zero | tr '\\0' x); echo ${#x}";
    let killed = daemon.corten(&["run", "--name", "hungry", "--memory", "12m", "busybox", "sh", "-c", script]);
    assert_eq!((killed.code, killed.stdout.as_str()), (137, ""), "{killed}");
    let state = &daemon.inspect("hungry")["State"];
    assert_eq!((state["OOMKilled"].as_bool(), state["ExitCode"].as_i64()), (Some(true), Some(137)), "{state}");
    assert_eq!(daemon.ok(&["run", "--name", "content", "busybox", "sh", "-c", script]), "25165824");
    assert_eq!(daemon.inspect("content")["State"]["OOMKilled"].as_bool(), Some(false));
    daemon.ok(&["run", "-d", "--name", "limited", "--memory", "12m", "busybox", "sleep", "60"]);
    let limit = cgroup::number(pid(&daemon, "limited"), "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, Some(12 * MIB));
    daemon.ok(&["rm", "-f", "hungry", "content", "limited"]);
    daemon.assert_no_container_left();
}

/// A busy loop under `--cpus 0.5` gets half a processor, measured, and the scheduler says that it held it back.
pub fn half_a_processor_is_half_a_processor() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "busy", "--cpus", "0.5", "busybox", "sh", "-c", "while :; do :; done"]);
    let pid = pid(&daemon, "busy");
    std::thread::sleep(Duration::from_millis(300));
    let (begun, before) = (Instant::now(), cgroup::cpu_nanoseconds(pid));
    std::thread::sleep(Duration::from_secs(2));
    let used = cgroup::cpu_nanoseconds(pid) - before;
    let share = Duration::from_nanos(used).as_secs_f64() / begun.elapsed().as_secs_f64();
    assert!(share < 0.6, "it used {share:.2} processors");
    // On a machine with every processor taken by others it may get less; it must get something.
    assert!(share > 0.1, "it used {share:.2} processors");
    let begun = Instant::now();
    while cgroup::times_throttled(pid) == 0 {
        // Others may leave it less than that for a while.
        assert!(begun.elapsed() < Duration::from_secs(60), "it was never held back");
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.ok(&["rm", "-f", "busy"]);
    daemon.assert_no_container_left();
}

/// A fork bomb stops at `--pids-limit`; others still start; it is removed whole.
pub fn a_fork_bomb_stops_at_the_limit() {
    let daemon = Daemon::with_busybox();
    let bomb = "b() { b | b & }; b; sleep 60";
    daemon.ok(&["run", "-d", "--name", "bomb", "--pids-limit", "20", "busybox", "sh", "-c", bomb]);
    let pid = pid(&daemon, "bomb");
    assert_eq!(cgroup::number(pid, "pids", "pids.max", "pids.max"), Some(20));
    let refused = || {
        let events = std::fs::read_to_string(cgroup::of(pid, "pids").0.join("pids.events")).expect("the file is there");
        events.split_whitespace().nth(1).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
    };
    let begun = Instant::now();
    while refused() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the limit was never reached");
        std::thread::sleep(Duration::from_millis(20));
    }
    let current = cgroup::number(pid, "pids", "pids.current", "pids.current").expect("a number");
    assert!(current <= 20, "{current} processes");
    daemon.corten(&["run", "--rm", "busybox", "true"]).ok();
    daemon.ok(&["rm", "-f", "bomb"]);
    daemon.assert_no_container_left();
}
