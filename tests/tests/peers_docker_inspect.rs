// SPDX-License-Identifier: Apache-2.0
//! `docker inspect` of containers that were made with the same flags, by Debian's Docker daemon and by Corten: what was
//! asked for and what is the default is shown alike, but for the differences that are listed here with their reasons.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helper functions")]

use end_to_end::docker_cli::docker;
use end_to_end::limits::disk;
use serde_json::Value;
use testkit::{Daemon, docker::Docker};

/// Flags of `docker create`. `DISK` is one of this machine's.
const COMBINATIONS: &[&[&str]] = &[
    &[],
    &["--privileged"],
    &["--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--security-opt", "no-new-privileges"],
    &["--security-opt", "seccomp=unconfined", "--security-opt", "label=disable"],
    &["--security-opt", "systempaths=unconfined", "--read-only", "--tmpfs", "/t:size=1m"],
    &["-m", "64m", "--memory-reservation", "32m", "--cpus", "0.5", "--pids-limit", "30"],
    &["-m", "64m", "--memory-swap", "128m", "--memory-swappiness", "10", "--oom-kill-disable"],
    &[
        "--cpu-period",
        "50000",
        "--cpu-quota",
        "25000",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
        "--cpuset-mems",
        "0",
    ],
    &["--device", "/dev/null:/dev/mine:r", "--device-cgroup-rule", "c 42:* rwm"],
    &["--device-read-bps", "DISK:1mb", "--device-write-iops", "DISK:100"],
    &["--ipc", "shareable", "--pid", "host", "--uts", "host", "--shm-size", "8m"],
    &["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--sysctl", "net.ipv4.ip_forward=1", "--group-add", "7"],
    &["--oom-score-adj", "5", "--domainname", "example.org", "--hostname", "named"],
    &["-i", "-t", "-e", "A=1", "-l", "k=v", "-w", "/tmp", "-u", "1000", "--entrypoint", "/bin/ls"],
    &["--stop-signal", "INT", "--stop-timeout", "7", "--network", "none", "--restart", "on-failure:3"],
    &["--cgroupns", "private", "--cgroup-parent", "/corten-inspected", "--userns", "host", "--network", "host"],
];

/// Fields of `HostConfig` that may differ, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("Runtime", "Corten is its own runtime"),
    (
        "CgroupnsMode",
        "a container sees only its own control groups unless it asks for the host's, on cgroup v1 as well",
    ),
    ("ConsoleSize", "Debian's older client sends zeros, which are no size"),
    ("MaskedPaths", "today's Docker masks more than Debian's"),
    ("NetworkMode", "the default network is shown by its name"),
    ("SecurityOpt", "for a privileged container Docker adds label=disable, which every container here has"),
    ("OomKillDisable", "left out where the host's control groups cannot do it"),
    ("MemorySwappiness", "left out where the host's control groups cannot do it"),
];

/// Fields of `Config` that may differ, and why.
const DIFFERENT_CONFIG: &[(&str, &str)] = &[
    ("Hostname", "it is the id where none is given"),
    ("AttachStdout", "who is attached belongs to a session, not to a container"),
    ("AttachStderr", "who is attached belongs to a session, not to a container"),
    ("WorkingDir", "an image's that says none is shown as /"),
    ("Image", "the name that was given"),
];

/// Whether a typed client reads it as nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    }
}

/// What differs between two objects, but for the fields that may.
fn differences(ours: &Value, theirs: &Value, may: &[(&str, &str)]) -> Vec<String> {
    let (ours, theirs) = (ours.as_object().unwrap(), theirs.as_object().unwrap());
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let different =
        names.into_iter().filter(|name| may.iter().all(|(allowed, _)| allowed != name)).filter_map(|name| {
            let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
            let (ours, theirs) = (of(ours), of(theirs));
            let same = ours == theirs || (is_nothing(&ours) && is_nothing(&theirs));
            (!same).then(|| format!("{name}: ours {ours}, Docker's {theirs}"))
        });
    different.collect()
}

/// `docker create` with these flags and `docker inspect` of that.
#[track_caller]
fn inspected(docker: &dyn Fn(&[&str]) -> String, flags: &[&str]) -> Value {
    let flags: Vec<String> = flags.iter().map(|flag| flag.replace("DISK", &disk())).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let created = docker(&[&["create"], &flags[..], &["busybox", "sleep", "60"]].concat());
    let id = created.lines().last().unwrap_or_default();
    let mut list: Vec<Value> = serde_json::from_str(&docker(&["inspect", id])).unwrap();
    list.remove(0)
}

#[test]
fn the_same_flags_are_shown_alike_by_both_daemons() {
    let daemon = Daemon::with_busybox();
    let theirs = Docker::start().unwrap();
    let tar = daemon.path().join("busybox.tar");
    theirs.run(&["import", &tar.to_string_lossy(), "busybox"]).unwrap();
    let ours = |arguments: &[&str]| docker(&daemon, arguments);
    let dockers = |arguments: &[&str]| theirs.run(arguments).unwrap();
    let mut all = Vec::new();
    for flags in COMBINATIONS {
        let (ours, theirs) = (inspected(&ours, flags), inspected(&dockers, flags));
        let mut found = differences(&ours["HostConfig"], &theirs["HostConfig"], DIFFERENT);
        found.extend(differences(&ours["Config"], &theirs["Config"], DIFFERENT_CONFIG));
        all.extend(found.into_iter().map(|difference| format!("{flags:?}: {difference}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}
