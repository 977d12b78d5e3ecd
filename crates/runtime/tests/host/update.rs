// SPDX-License-Identifier: Apache-2.0
//! update: limits of a running container, changed all together or not at all.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bundle::Bundle;

fn limited() -> Bundle {
    let resources = json!({ "memory": { "limit": 33_554_432, "swap": 67_108_864 }, "pids": { "limit": 20 },
        "cpu": { "shares": 512, "quota": 40_000, "period": 80_000 } });
    Bundle::new(&["sleep", "100"]).set("/linux/resources", resources).start()
}

/// A control file of the container's, by either version's name.
#[track_caller]
fn file(bundle: &Bundle, v1: &str, v2: &str) -> String {
    let read = |name: &str| bundle.cgroups().iter().find_map(|group| fs::read_to_string(group.join(name)).ok());
    read(v1).or_else(|| read(v2)).unwrap_or_else(|| panic!("neither {v1} nor {v2}")).trim().to_owned()
}

fn remembered(bundle: &Bundle) -> Value {
    let path = bundle.path().join("state").join(&bundle.id).join("config.json");
    serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap()["linux"]["resources"].clone()
}

fn memory(bundle: &Bundle) -> String {
    file(bundle, "memory.limit_in_bytes", "memory.max")
}

fn pids(bundle: &Bundle) -> String {
    file(bundle, "pids.max", "pids.max")
}

#[test]
fn every_flag_reaches_the_kernel_and_is_remembered() {
    let bundle = limited();
    let flags = "--memory 64m --memory-swap 128m --memory-reservation 16m --pids-limit 30 --cpu-share 256 \
        --cpu-quota 30000 --cpu-burst 10000 --cpuset-cpus 0 --cpuset-mems 0";
    let mut args = vec!["update"];
    args.extend(flags.split_whitespace());
    args.push(&bundle.id);
    bundle.oci(&args).ok();
    assert_eq!(memory(&bundle), "67108864");
    assert_eq!(file(&bundle, "memory.soft_limit_in_bytes", "memory.low"), "16777216");
    assert_eq!(pids(&bundle), "30");
    assert_eq!(file(&bundle, "cpuset.cpus", "cpuset.cpus"), "0");
    // The period is the one it had.
    let quota = file(&bundle, "cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "30000" || quota == "30000 80000", "{quota}");
    assert_eq!(file(&bundle, "cpu.cfs_burst_us", "cpu.max.burst"), "10000");
    let all = remembered(&bundle);
    assert_eq!(all["memory"], json!({ "limit": 67_108_864, "swap": 134_217_728, "reservation": 16_777_216 }));
    assert_eq!(all["cpu"]["period"], 80_000);
    assert_eq!(all["pids"]["limit"], 30);
    bundle.oci(&["update", "--memory", "-1", "--pids-limit", "-1", &bundle.id]).ok();
    assert!(memory(&bundle) == "max" || memory(&bundle).parse::<u64>().unwrap() > 1 << 60);
    assert_eq!(pids(&bundle), "max");
}

#[test]
fn a_file_or_standard_input_says_the_limits() {
    let bundle = limited();
    fs::write(bundle.path().join("limits.json"), r#"{"pids": {"limit": 25}, "memory": {"limit": 50331648}}"#).unwrap();
    bundle.oci(&["update", "-r", "limits.json", "--pids-limit", "99", &bundle.id]).ok();
    assert_eq!((pids(&bundle).as_str(), memory(&bundle).as_str()), ("25", "50331648"));
    let mut child = bundle.command(&["update", "--resources", "-", &bundle.id]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), br#"{"pids": {"limit": 26}}"#).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(pids(&bundle), "26");
    fs::write(bundle.path().join("limits.json"), r#"{"pids": {"limit": "many"}}"#).unwrap();
    bundle.oci(&["update", "-r", "limits.json", &bundle.id]).fails(1, "limits.json");
}

#[test]
fn what_is_refused_changes_nothing() {
    let bundle = limited();
    let before = (memory(&bundle), pids(&bundle), remembered(&bundle));
    let refused: [(&[&str], &str); 7] = [
        (&["--pids-limit", "7", "--memory", "x"], "--memory"),
        (&["--pids-limit", "7", "--memory", "48m", "--memory-swap", "8m"], "memory.swap"),
        // Only the kernel knows that this is too short; memory and pids are written before or after it.
        (&["--pids-limit", "7", "--memory", "48m", "--cpu-period", "1"], "Invalid argument"),
        (&["--memory", "48m", "--cpuset-cpus", "4095"], "cpuset.cpus"),
        (&["--pids-limit", "7", "--l3-cache-schema", "L3:0=f"], "--l3-cache-schema"),
        (&["--pids-limit", "7", "--mem-bw-schema", "MB:0=20"], "--mem-bw-schema"),
        (&["--pids-limit", "7", "--no-such-limit", "1"], "--no-such-limit"),
    ];
    for (flags, text) in refused {
        bundle.oci(&[&["update"], flags, &[&bundle.id]].concat()).fails(1, text);
        assert_eq!((memory(&bundle), pids(&bundle), remembered(&bundle)), before, "{flags:?}");
    }
}

#[test]
fn kernel_memory_is_ignored_with_a_warning() {
    let bundle = limited();
    let ran = bundle.oci(&["update", "--kernel-memory", "64m", "--pids-limit", "33", &bundle.id]);
    assert!(ran.err.contains("memory.kernel has no meaning"), "{}", ran.err);
    ran.ok();
    assert_eq!(pids(&bundle), "33");
    let limits =
        serde_json::json!({ "memory": { "kernel": 67_108_864, "kernelTCP": 67_108_864, "limit": 67_108_864 } });
    let ran = Bundle::new(&["true"]).set("/linux/resources", limits);
    let ran = ran.oci(&["run", &ran.id]);
    for limit in ["memory.kernel", "memory.kernelTCP"] {
        assert!(ran.err.contains(&format!("{limit} has no meaning on this host")), "{}", ran.err);
    }
    ran.ok();
}

#[test]
fn a_stopped_container_has_no_limits_to_change() {
    let bundle = Bundle::new(&["true"]).start();
    while bundle.state()["status"] != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.oci(&["update", "--pids-limit", "7", &bundle.id]).fails(1, "stopped");
}
