// SPDX-License-Identifier: Apache-2.0
//! ps and events: what a running container is seen to do.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::Bundle;

#[test]
fn ps_lists_what_the_hosts_own_ps_lists() {
    let bundle = Bundle::script("sleep 100 & exec sleep 200").start();
    let pids =
        || -> Vec<i32> { serde_json::from_str(&bundle.oci(&["ps", "--format", "json", &bundle.id]).ok()).unwrap() };
    let begun = Instant::now();
    while pids().len() != 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "two processes");
    }
    let theirs = std::process::Command::new("ps").arg("-ef").env("TZ", "").output().unwrap();
    let theirs = String::from_utf8_lossy(&theirs.stdout).into_owned();
    let ours = bundle.oci(&["ps", &bundle.id, "-ef"]).ok();
    let mut lines = ours.lines();
    assert_eq!(lines.next(), theirs.lines().next());
    let rows: Vec<&str> = lines.collect();
    assert_eq!(rows.len(), 2, "{ours}");
    for row in rows {
        assert!(theirs.lines().any(|line| line == row), "{row:?} is not among\n{theirs}");
    }
    bundle.oci(&["ps", &bundle.id, "aux"]).fails(1, "\"aux\"");
    bundle.oci(&["ps", "--format", "yaml", &bundle.id]).fails(1, "table or json");
}

#[test]
fn events_has_the_shape_of_runcs() {
    let bundle = Bundle::script("head -c 1000000 /dev/zero > /dev/shm/x; sleep 100")
        .set("/linux/resources/memory", json!({ "limit": 67_108_864 }))
        .set("/linux/resources/pids", json!({ "limit": 50 }))
        .start();
    let event: Value = serde_json::from_str(&bundle.oci(&["events", "--stats", &bundle.id]).ok()).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(bundle.id)));
    let data = &event["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 67_108_864);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 100_000, "{data}");
    assert!(data["memory"]["raw"].as_object().unwrap().len() > 10);
    assert_eq!(data["pids"]["limit"], 50);
    assert!(data["pids"]["current"].as_u64().unwrap() >= 1);
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    for (section, field) in [("cpu", "throttling"), ("cpuset", "cpu_exclusive"), ("memory", "kernelTCP")] {
        assert!(!data[section][field].is_null(), "{section}.{field} in {data}");
    }
    for section in ["blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(!data[section].is_null(), "{section} in {data}");
    }
    bundle.oci(&["events", "--interval", "0s", &bundle.id]).fails(1, "above 0");
}

#[test]
fn events_come_at_intervals_tell_of_want_of_memory_and_end_with_the_container() {
    // A file of /dev/shm is memory, and too large for the limit.
    let script = "while [ ! -e /tmp/go ]; do sleep 0.01; done; head -c 60000000 /dev/zero > /dev/shm/x; exit 0";
    let bundle =
        Bundle::script(script).set("/linux/resources/memory", json!({ "limit": 16_777_216, "swap": 16_777_216 }));
    let bundle = bundle.start();
    let mut child =
        bundle.command(&["events", "--interval", "50ms", &bundle.id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    for _ in 0..2 {
        assert_eq!(next().unwrap()["type"], "stats");
    }
    std::fs::write(bundle.rootfs("tmp/go"), "").unwrap();
    let mut wants = 0;
    while let Some(event) = next() {
        if event["type"] == "oom" {
            assert_eq!(event, json!({ "type": "oom", "id": bundle.id }));
            wants += 1;
        }
    }
    assert!(wants > 0, "nothing was said of the want of memory");
    assert!(child.wait().unwrap().success());
    bundle.oci(&["events", "--stats", &bundle.id]).fails(1, "stopped");
}

#[test]
fn a_list_has_runcs_columns() {
    let bundle = Bundle::new(&["sleep", "100"]).start();
    let table = bundle.oci(&["list"]).ok();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!((rows[1][0], rows[1][2], rows[1][5]), (bundle.id.as_str(), "running", "root"));
}
