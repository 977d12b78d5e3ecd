// SPDX-License-Identifier: Apache-2.0
//! What else a process has of its own: scheduling, memory policy, labels, inherited descriptors.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::Bundle;

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("'{}' ", word.to_string_lossy())).collect()
}

#[test]
fn every_policy_that_this_kernel_has_is_set() {
    for (scheduler, expected) in [
        (json!({ "policy": "SCHED_OTHER", "nice": 5 }), "nice 5\n0 0\n"),
        (json!({ "policy": "SCHED_FIFO", "priority": 3 }), "nice 0\n3 1\n"),
        (json!({ "policy": "SCHED_RR", "priority": 4, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }), "nice 0\n4 2\n"),
        (json!({ "policy": "SCHED_BATCH", "nice": 19 }), "nice 19\n0 3\n"),
        (json!({ "policy": "SCHED_IDLE" }), "nice 0\n0 5\n"),
        (
            json!({ "policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 30_000_000, "period": 30_000_000,
                "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"] }),
            "nice 0\n0 6\n",
        ),
    ] {
        // Fields 19, 40 and 41 of proc_pid_stat(5), read by the shell itself: a process it makes may not inherit them.
        let script = "read -r line < /proc/$$/stat; set -- ${line##*) }; shift 16; echo nice $1; shift 21; echo $1 $2";
        let bundle = Bundle::script(script).set("/process/scheduler", scheduler.clone());
        // Where the kernel shares out real time among cgroups, a new one has none.
        let real_time = json!({ "realtimePeriod": 1_000_000, "realtimeRuntime": 1_000 });
        let shared = std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists();
        let wants = scheduler["priority"].is_number() && shared;
        let bundle = if wants { bundle.set("/linux/resources/cpu", real_time) } else { bundle };
        assert_eq!(bundle.run().ok(), expected, "{scheduler}");
    }
    let iso = Bundle::new(&["true"]).set("/process/scheduler", json!({ "policy": "SCHED_ISO" }));
    iso.run().fails(1, "sched_setattr");
    iso.left_nothing();
}

#[test]
fn the_io_priority_is_set() {
    for (class, level, expected) in
        [("IOPRIO_CLASS_BE", 2, "best-effort: prio 2\n"), ("IOPRIO_CLASS_RT", 1, "realtime: prio 1\n")]
    {
        let priority = json!({ "class": class, "priority": level });
        let ran = Bundle::script("ionice -p $$").set("/process/ioPriority", priority).run();
        assert_eq!(ran.ok(), expected);
    }
}

#[test]
fn the_memory_policy_is_set() {
    let policy = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] });
    let out = Bundle::script("cat /proc/$$/numa_maps").set("/linux/memoryPolicy", policy).run().ok();
    assert!(out.lines().any(|line| line.contains("bind=static:0")), "{out}");
    let nowhere = Bundle::new(&["true"]).set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "1000" }));
    nowhere.run().fails(1, "set_mempolicy");
    nowhere.left_nothing();
}

#[test]
fn another_process_has_its_own_affinity_and_nobody_has_the_launchers() {
    const ALLOWED: &str = "sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status";
    let all = fs::read_to_string("/sys/devices/system/cpu/present").unwrap();
    let on_first = |bundle: &Bundle, args: &[&str]| {
        let mut command = Command::new("taskset");
        let oci = bundle.command(args);
        command.arg("1").arg(oci.get_program()).args(oci.get_args()).current_dir(bundle.path());
        bundle.finish(command).ok()
    };
    let bundle = Bundle::script(ALLOWED);
    assert_eq!(on_first(&bundle, &["run", &bundle.id]), all);
    let bundle = Bundle::new(&["sleep", "100"]).start();
    assert_eq!(on_first(&bundle, &["exec", &bundle.id, "sh", "-c", ALLOWED]), all);
    let exec = |affinity: Value| {
        let process = json!({ "args": ["sh", "-c", ALLOWED], "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": affinity,
            "scheduler": { "policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"] },
            "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 1 } });
        let file = bundle.path().join("process.json");
        fs::write(&file, process.to_string()).unwrap();
        bundle.oci(&["exec", "--process", file.to_str().unwrap(), &bundle.id])
    };
    assert_eq!(exec(json!({ "final": "0" })).ok(), "0\n");
    assert_eq!(exec(json!({ "initial": "0", "final": "" })).ok(), "0\n");
    assert_eq!(exec(json!({ "initial": "0", "final": all.trim() })).ok(), all);
    exec(json!({ "final": "x" })).fails(255, "execCPUAffinity");
}

#[test]
fn a_label_without_its_security_module_is_refused_by_name() {
    let enabled = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
    assert!(!enabled, "this test is for a kernel without AppArmor; write the other one");
    let bundle = Bundle::new(&["true"]).set("/process/apparmorProfile", json!("docker-default"));
    bundle.run().fails(1, "process.apparmorProfile");
    bundle.left_nothing();
    let bundle = Bundle::new(&["sleep", "100"]).start();
    bundle.oci(&["exec", "--apparmor", "x", &bundle.id, "true"]).fails(255, "process.apparmorProfile");
    bundle.oci(&["exec", "--process-label", "a:b:c", &bundle.id, "true"]).fails(255, "process.selinuxLabel");
}

#[test]
fn sockets_of_activation_come_first_and_are_told_of() {
    let script = "echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4; cat <&5";
    let bundle = Bundle::script(script);
    for (name, text) in [("a", "first\n"), ("b", "second\n")] {
        fs::write(bundle.path().join(name), text).unwrap();
    }
    let oci = words(&bundle.command(&["run", "--preserve-fds", "1", &bundle.id]));
    let run = |listen_pid: &str| {
        let mut command = Command::new("sh");
        let script = format!("exec 3<a 4<b; export LISTEN_FDS=1 LISTEN_PID={listen_pid}; exec {oci}");
        command.args(["-c", &script]).current_dir(bundle.path());
        bundle.finish(command)
    };
    let told = run("$$");
    assert!(told.out.starts_with("1 1\nfirst\nsecond\n") && told.err.contains("5: Bad file descriptor"), "{told:?}");
    // Meant for somebody else: only the one that is to be preserved.
    let others = run("1");
    assert!(others.out.starts_with("\nfirst\n") && !others.out.contains("second"), "{others:?}");
}

#[test]
fn a_descriptor_that_is_not_open_cannot_be_preserved() {
    let bundle = Bundle::new(&["true"]);
    bundle.oci(&["run", "--preserve-fds", "20", &bundle.id]).fails(1, "--preserve-fds needs descriptor 3");
    bundle.left_nothing();
}

#[test]
fn unknown_capabilities_are_left_out_with_a_warning() {
    let names = json!(["CAP_KILL", "CAP_OF_THE_FUTURE"]);
    let sets = json!({ "bounding": names, "effective": names, "permitted": names });
    let ran = Bundle::script("grep CapEff /proc/self/status").set("/process/capabilities", sets).run();
    assert!(ran.err.contains("CAP_OF_THE_FUTURE"), "{ran:?}");
    assert_eq!(ran.ok(), "CapEff:\t0000000000000020\n");
    let bundle = Bundle::new(&["sleep", "100"]).start();
    let args = ["exec", "--cap", "CAP_NO", "--cap", "CAP_CHOWN", &bundle.id, "grep", "CapBnd", "/proc/self/status"];
    let ran = bundle.oci(&args);
    assert!(ran.err.contains("CAP_NO"), "{ran:?}");
    assert!(ran.ok().ends_with("21\n"));
}

#[test]
fn an_error_of_the_configuration_names_its_field() {
    for (pointer, value, field) in [
        ("/process/args", json!("sh"), "config.json: process.args"),
        ("/mounts/-", json!({ "source": "x" }), "config.json: mounts[7]"),
        ("/process/rlimits/-", json!({ "type": "RLIMIT_X", "soft": 1, "hard": 1 }), "process.rlimits[1].type"),
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
    ] {
        let bundle = Bundle::new(&["true"]).set(pointer, value);
        bundle.run().fails(1, field);
        bundle.left_nothing();
    }
}
