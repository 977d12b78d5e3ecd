// SPDX-License-Identifier: Apache-2.0
//! `run --dry-run` and `create --dry-run`: what would be done is printed, and nothing is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::{Bundle, example};

fn limited() -> Bundle {
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }] });
    Bundle::new(&["true"])
        .set("/linux/seccomp", filter)
        .set("/linux/resources", json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 77 } }))
}

#[test]
fn the_launchers_steps_come_before_the_containers() {
    let bundle = limited();
    let printed = bundle.oci(&["run", "--dry-run", &bundle.id]).ok();
    let lines: Vec<&str> = printed.lines().collect();
    let at =
        |text: &str| lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}\n{printed}"));
    let order = [
        "compile the system call filter: ",
        &format!("make cgroup /sys/fs/cgroup/pids/{}", bundle.id),
        &format!("write \"77\" to /sys/fs/cgroup/pids/{}/pids.max", bundle.id),
        "clone CLONE_NEWNS|",
        "join the cgroup",
        "attach root ",
        "pivot root",
        "seccomp filter",
        "execute [\"true\"]",
    ];
    let positions: Vec<usize> = order.iter().map(|text| at(text)).collect();
    assert!(positions.is_sorted(), "{printed}");
    assert_eq!(positions.last(), Some(&(lines.len() - 1)));
    let waiting = bundle.oci(&["create", "--dry-run", &bundle.id]).ok();
    assert!(waiting.contains("\nwait for start\n") && !printed.contains("wait for start"), "{waiting}");
}

#[test]
fn nothing_is_done_and_the_id_is_not_taken() {
    let bundle = limited();
    bundle.oci(&["run", "--dry-run", "--pid-file", "pid", &bundle.id]).ok();
    bundle.left_nothing();
    assert!(!bundle.path().join("state").exists());
    assert!(!bundle.path().join("pid").exists());
    // An id that is taken can be looked at as well.
    let bundle = Bundle::new(&["sleep", "100"]).start();
    bundle.oci(&["create", "--dry-run", &bundle.id]).ok();
    assert_eq!(bundle.state()["status"], "running");
}

/// What is printed is what is done: the limits that a real start leaves in the kernel's files.
#[test]
fn what_is_printed_is_what_is_done() {
    let bundle = limited().set("/process/args", json!(["sleep", "100"]));
    let printed = bundle.oci(&["run", "--dry-run", &bundle.id]).ok();
    let _running = bundle.start();
    let mut compared = 0;
    for line in printed.lines() {
        if let Some(directory) = line.strip_prefix("make cgroup ") {
            assert!(Path::new(directory).is_dir(), "{directory} was not made");
        }
        if let Some((value, file)) = line.strip_prefix("write \"").and_then(|rest| rest.split_once("\" to ")) {
            // A kernel that does not account swap has no such file.
            if let Ok(text) = fs::read_to_string(file) {
                assert_eq!(text.trim_end(), value, "{file}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 2, "{printed}");
}

#[test]
fn programs_read_it_as_json() {
    let bundle = limited();
    let printed = bundle.oci(&["run", "--dry-run", "--format", "json", &bundle.id]).ok();
    let steps: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let text = bundle.oci(&["run", "--dry-run", "--format=text", &bundle.id]).ok();
    assert_eq!(steps.len(), text.lines().count());
    let find = |operation: &str| steps.iter().find(|step| step["operation"] == operation).unwrap();
    assert_eq!(find("clone")["by"], "launcher");
    assert_eq!(find("make-cgroup")["arguments"], format!("/sys/fs/cgroup/{}/{}", first_hierarchy(&text), bundle.id));
    assert_eq!(find("write-limit")["arguments"]["value"], (64 << 20).to_string());
    let mount = find("mount");
    assert_eq!(mount["by"], "container");
    assert_eq!(mount["arguments"]["destination"], "/proc");
    assert_eq!(mount["arguments"]["source"]["fileSystem"]["kind"], "proc");
    let sysfs = steps.iter().find(|step| step["arguments"]["destination"] == "/sys").unwrap();
    assert_eq!(sysfs["arguments"]["attributes"]["set"], json!(["ro", "nosuid", "nodev", "noexec"]));
    assert_eq!(find("pivot-root"), &json!({ "by": "container", "operation": "pivot-root" }));
    let kept = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]);
    assert_eq!(find("bounding-set")["arguments"], kept);
    assert_eq!(find("execute")["arguments"], json!(["true"]));
}

fn first_hierarchy(text: &str) -> &str {
    let line = text.lines().find_map(|line| line.strip_prefix("make cgroup /sys/fs/cgroup/")).unwrap();
    line.split('/').next().unwrap()
}

#[test]
fn it_needs_no_privileges() {
    let bundle = limited();
    // Only that the files can be read.
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = bundle.path().join("oci");
    fs::copy(example("oci"), &program).unwrap();
    let as_root = bundle.oci(&["run", "--dry-run", &bundle.id]).ok();
    let mut command = Command::new(&program);
    command.args(["--root", "/nowhere", "run", "--dry-run", &bundle.id]).current_dir(bundle.path()).uid(1000).gid(1000);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), as_root);
}

#[test]
fn what_cannot_be_planned_is_told_as_ever() {
    let bundle = limited().set("/process/cwd", json!("relative"));
    bundle.oci(&["run", "--dry-run", &bundle.id]).fails(1, "process.cwd");
    let bundle = limited();
    bundle.oci(&["run", "--dry-run", "--format", "yaml", &bundle.id]).fails(1, "text or json");
    bundle.oci(&["run", "--format", "json", &bundle.id]).fails(1, "--format only with --dry-run");
}
