// SPDX-License-Identifier: Apache-2.0
//! Containers that ask for as much as possible, so that as many calls as possible are made.

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::user_namespace::mapped;

/// What the command prints.
pub(super) const SAID: &str = "done\n";

fn capabilities() -> Value {
    let all = ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN"];
    json!({ "bounding": all, "effective": all, "permitted": all, "inheritable": all, "ambient": all })
}

fn filter() -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["swapon", "swapoff"], "action": "SCMP_ACT_ERRNO" }] })
}

/// What is mounted in a file system made for this run is made anew each time: directories, files and links.
fn mounts(bundle: &Bundle) -> Vec<Value> {
    let file = bundle.path().join("given");
    std::fs::write(&file, "given\n").unwrap();
    std::fs::create_dir(bundle.path().join("shared")).unwrap();
    let bind = |source: &str, destination: &str, options: &[&str]| json!({ "destination": destination, "type": "bind", "source": source, "options": options });
    let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
    mounts.extend([
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=1m", "rprivate"] }),
        bind("shared", "/tmp/new/directory", &["rbind", "rro", "nodev", "rshared"]),
        bind("given", "/tmp/new/file", &["bind", "ro", "noatime"]),
    ]);
    mounts
}

/// Everything that needs no terminal; its command ends at once.
pub(super) fn full() -> Bundle {
    let bundle = Bundle::new(&["echo", SAID.trim_end()]);
    let mounts = mounts(&bundle);
    let id = bundle.id.clone();
    bundle
        .set("/mounts", json!(mounts))
        .set("/process/capabilities", capabilities())
        .set("/process/noNewPrivileges", json!(false))
        .set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [7, 8], "umask": 0o27 }))
        .set("/process/oomScoreAdj", json!(100))
        .set("/process/cwd", json!("/tmp"))
        .set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "hard": 512, "soft": 256 }]))
        .set("/domainname", json!("example.test"))
        .set("/linux/seccomp", filter())
        .set("/linux/personality", json!({ "domain": "LINUX" }))
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "65536" }))
        .set("/linux/rootfsPropagation", json!("rslave"))
        .set(
            "/linux/devices",
            json!([
                { "path": "/dev/extra/fuse", "type": "c", "major": 10, "minor": 229, "uid": 1, "gid": 2 },
                { "path": "/dev/fifo", "type": "p", "major": 0, "minor": 0 }
            ]),
        )
        .set(
            "/linux/resources",
            json!({ "devices": [{ "allow": false, "access": "rwm" }],
            "memory": { "limit": 64 << 20 }, "pids": { "limit": 50 }, "cpu": { "shares": 512, "cpus": "0" } }),
        )
        .set("/linux/cgroupsPath", json!(format!("/{id}-parent/{id}")))
}

/// With a terminal, in the host's cgroup namespace and another's network, without changing the root by pivot_root.
pub(super) fn terminal(neighbour: &Bundle) -> Bundle {
    let bundle = Bundle::new(&["true"]);
    let kinds = ["mount", "pid", "ipc", "uts"].map(|kind| json!({ "type": kind }));
    let network = json!({ "type": "network", "path": format!("/proc/{}/ns/net", neighbour.state()["pid"]) });
    bundle
        .set("/linux/namespaces", json!([&kinds[..], &[network]].concat()))
        .set("/process/terminal", json!(true))
        .set("/process/consoleSize", json!({ "height": 33, "width": 77 }))
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .set("/linux/seccomp", filter())
}

/// All eight namespaces, clocks that are off, a mount with other ids, hooks on both sides, and a filter that notifies.
pub(super) fn all_namespaces() -> Bundle {
    let bundle = mapped("echo done");
    std::fs::create_dir(bundle.path().join("data")).unwrap();
    let hook = json!([{ "path": "/bin/true", "timeout": 20 }]);
    bundle
        .set("/linux/namespaces/-", json!({ "type": "time" }))
        .set("/linux/timeOffsets", json!({ "boottime": { "secs": 86_400 } }))
        .set("/mounts/-", json!({ "destination": "/data", "source": "data", "options": ["bind", "idmap"] }))
        .set("/hooks", json!({ "createRuntime": hook, "createContainer": hook, "startContainer": hook }))
        .set("/process/oomScoreAdj", json!(100))
        .set(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "socket",
                "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_NOTIFY" }] }),
        )
}

/// One that runs, for others to join; joined processes have a filter and capabilities too.
pub(super) fn running() -> Bundle {
    Bundle::new(&["sleep", "1000"])
        .set("/process/capabilities", capabilities())
        .set("/process/noNewPrivileges", json!(false))
        .set("/linux/seccomp", filter())
        .start()
}
