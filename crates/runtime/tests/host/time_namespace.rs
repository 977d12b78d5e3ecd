// SPDX-License-Identifier: Apache-2.0
//! Containers with clocks of their own.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::user_namespace::{joining, mapped};

fn uptime(text: &str) -> f64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn timed(bundle: Bundle, offsets: Value) -> Bundle {
    bundle.set("/linux/namespaces/-", json!({ "type": "time" })).set("/linux/timeOffsets", offsets)
}

const LOOK: &str = "cat /proc/uptime; readlink /proc/self/ns/time; cat /proc/self/timens_offsets";

#[test]
fn a_time_namespace_without_offsets_is_made_with_the_process() {
    let bundle = timed(Bundle::script(LOOK), json!({}));
    let out = bundle.run().ok();
    let of_host = fs::read_link("/proc/self/ns/time").unwrap();
    assert_ne!(out.lines().nth(1), Some(&*of_host.to_string_lossy()));
    assert!((uptime(&out) - uptime(&fs::read_to_string("/proc/uptime").unwrap())).abs() < 60.0, "{out}");
    bundle.left_nothing();
}

#[test]
fn clocks_are_off_by_what_the_configuration_says() {
    let offsets = json!({ "boottime": { "secs": 86_400, "nanosecs": 5 }, "monotonic": { "secs": 1000 } });
    for bundle in [Bundle::script(LOOK), mapped(LOOK)] {
        let bundle = timed(bundle, offsets.clone());
        let out = bundle.run().ok();
        let off = uptime(&out) - uptime(&fs::read_to_string("/proc/uptime").unwrap());
        assert!((off - 86_400.0).abs() < 60.0, "{out}");
        let fields: Vec<&str> = out.lines().skip(2).flat_map(str::split_whitespace).collect();
        assert_eq!(fields, ["monotonic", "1000", "0", "boottime", "86400", "5"], "{out}");
        bundle.left_nothing();
    }
}

#[test]
fn a_clock_before_the_machines_start_is_refused_by_the_kernel_and_told() {
    let bundle = timed(Bundle::new(&["true"]), json!({ "boottime": { "secs": -4_000_000_000_i64 } }));
    bundle.run().fails(1, "unshare CLONE_NEWTIME with boottime-4000000000");
    bundle.left_nothing();
}

#[test]
fn a_time_namespace_is_joined_and_entered_by_exec() {
    let first = timed(Bundle::new(&["sleep", "100"]), json!({ "boottime": { "secs": 86_400 } })).start();
    let pid = first.state()["pid"].as_i64().unwrap();
    let inside = first.exec(LOOK).ok();
    let second = joining(Bundle::script(LOOK), pid, &["time"]);
    let joined = second.run().ok();
    for out in [inside, joined] {
        let off = uptime(&out) - uptime(&fs::read_to_string("/proc/uptime").unwrap());
        assert!((off - 86_400.0).abs() < 60.0, "{out}");
    }
    second.left_nothing();
}

#[test]
fn all_eight_namespaces_are_made_and_joined_together() {
    let kinds = ["user", "time", "pid", "network", "ipc", "uts", "cgroup", "mount"];
    let links = "for k in user time pid net ipc uts cgroup mnt; do readlink /proc/self/ns/$k; done";
    let first = timed(mapped("sleep 100"), json!({ "boottime": { "secs": 86_400 } })).start();
    let pid = first.state()["pid"].as_i64().unwrap();
    let expected: String = ["user", "time", "pid", "net", "ipc", "uts", "cgroup", "mnt"]
        .map(|kind| format!("{}\n", fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display()))
        .concat();
    assert_eq!(first.exec(links).ok(), expected);
    let mut second = joining(Bundle::script(links), pid, &kinds);
    second.config["mounts"] = json!([]);
    second.config["linux"]["maskedPaths"] = json!([]);
    second.config["linux"]["readonlyPaths"] = json!([]);
    assert_eq!(second.run().ok(), expected);
    second.left_nothing();
}
