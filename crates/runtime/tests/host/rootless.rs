// SPDX-License-Identifier: Apache-2.0
//! `corten oci` called by a user without any rights. With a cgroup of its own, and with `newuidmap`: in the vm lane.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle::{Bundle, Ran, example};

/// A user and a group that no file knows.
const USER: u32 = 54_321;
const GROUP: u32 = 54_322;

/// A bundle that belongs to the user, with a copy of the program.
struct Rootless(Bundle);

impl Rootless {
    fn new(script: &str) -> Rootless {
        let bundle = Rootless(Bundle::script(script));
        fs::copy(example("oci"), bundle.program()).unwrap();
        fs::create_dir(bundle.path("runtime")).unwrap();
        let owner = format!("{USER}:{GROUP}");
        for path in ["rootfs", "runtime"] {
            assert!(Command::new("chown").args(["-hR", &owner]).arg(bundle.path(path)).status().unwrap().success());
        }
        chown(bundle.0.path(), Some(USER), Some(GROUP)).unwrap();
        fs::remove_file(bundle.path("config.json")).unwrap();
        bundle.run_as_user(&["spec", "--rootless"]).ok();
        let mut bundle = bundle;
        let args = bundle.0.config["process"]["args"].take();
        bundle.0.config = serde_json::from_slice(&fs::read(bundle.path("config.json")).unwrap()).unwrap();
        bundle.0.config["process"]["args"] = args;
        bundle.0.config["process"]["terminal"] = json!(false);
        bundle.write();
        bundle
    }

    fn set(mut self, pointer: &str, value: Value) -> Rootless {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.0.config.pointer_mut(parent).unwrap()[key] = value;
        self.write();
        self
    }

    fn write(&self) {
        fs::write(self.path("config.json"), self.0.config.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path("oci")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command.args(args).current_dir(self.0.path()).env("XDG_RUNTIME_DIR", self.path("runtime"));
        command.uid(USER).gid(GROUP).stdin(Stdio::null());
        command
    }

    fn run_as_user(&self, args: &[&str]) -> Ran {
        self.0.finish(self.command(args))
    }

    fn run(&self) -> Ran {
        self.run_as_user(&["run", &self.0.id])
    }

    fn left_nothing(&self) {
        assert!(!self.path("runtime/corten/oci").join(&self.0.id).exists(), "a state directory is left");
        self.0.left_nothing();
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        if self.path("runtime/corten/oci").join(&self.0.id).exists() {
            let deleted = self.command(&["delete", "--force", &self.0.id]).status();
            if !std::thread::panicking() {
                assert!(deleted.unwrap().success());
            }
        }
    }
}

#[test]
fn the_sample_runs_and_its_root_is_the_user() {
    let script = "id; cat /proc/self/uid_map /proc/self/setgroups; echo x > /tmp/made; echo > /dev/null; hostname";
    let bundle = Rootless::new(script).set("/root/readonly", json!(false));
    let ran = bundle.run();
    assert!(ran.err.contains("warning: without a cgroup of its own"), "{ran:?}");
    let out = ran.ok();
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!(lines, ["uid=0(root) gid=0", "0      54321          1", "deny", "corten"], "{out}");
    use std::os::unix::fs::MetadataExt;
    let made = fs::metadata(bundle.path("rootfs/tmp/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (USER, GROUP));
    bundle.left_nothing();
}

#[test]
fn a_container_lives_its_whole_life() {
    let bundle = Rootless::new("sleep 100");
    let id = bundle.0.id.clone();
    bundle.run_as_user(&["create", &id]).ok();
    bundle.run_as_user(&["start", &id]).ok();
    let state: Value = serde_json::from_str(&bundle.run_as_user(&["state", &id]).ok()).unwrap();
    assert_eq!(state["status"], "running");
    assert!(bundle.run_as_user(&["list"]).ok().contains(&id));
    let inside =
        bundle.run_as_user(&["exec", &id, "sh", "-c", "id; for p in self 1; do readlink /proc/$p/ns/pid; done"]).ok();
    let lines: Vec<&str> = inside.lines().collect();
    assert_eq!(lines[0], "uid=0(root) gid=0");
    assert_eq!(lines[1], lines[2], "exec entered the pid namespace");
    assert_eq!(bundle.run_as_user(&["exec", &id, "sh", "-c", "exit 7"]).code, Some(7));
    bundle.run_as_user(&["kill", &id, "KILL"]).ok();
    for _ in 0..100 {
        if bundle.run_as_user(&["state", &id]).ok().contains("stopped") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    bundle.run_as_user(&["delete", &id]).ok();
    bundle.left_nothing();
}

/// What the process of a container that waits for `start` is executed from.
fn executed_from(bundle: &Rootless) -> String {
    bundle.run_as_user(&["create", &bundle.0.id]).ok();
    let state: Value = serde_json::from_str(&bundle.run_as_user(&["state", &bundle.0.id]).ok()).unwrap();
    let link = fs::read_link(format!("/proc/{}/exe", state["pid"])).unwrap();
    bundle.run_as_user(&["delete", "--force", &bundle.0.id]).ok();
    link.to_string_lossy().into_owned()
}

#[test]
fn the_program_is_roots_or_sealed_memory_and_never_the_users_own() {
    let bundle = Rootless::new("true");
    assert_eq!(executed_from(&bundle), bundle.program().to_string_lossy());
    for (owner, mode) in [(Some(USER), 0o755), (Some(0), 0o775), (Some(0), 0o757)] {
        chown(bundle.program(), owner, Some(GROUP)).unwrap();
        fs::set_permissions(bundle.program(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(executed_from(&bundle), "/memfd:corten (deleted)", "{owner:?} {mode:o}");
    }
    bundle.left_nothing();
}

#[test]
fn a_limit_that_cannot_be_had_is_named() {
    let bundle = Rootless::new("true").set("/linux/resources", json!({ "pids": { "limit": 5 } }));
    bundle.run().fails(1, "linux.resources.pids in the container's configuration needs a cgroup");
    // Rules for devices are none: device files cannot be made in a user namespace.
    let rules = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    let bundle = bundle.set("/linux/resources", rules);
    bundle.run().ok();
    bundle.run_as_user(&["--rootless", "false", "run", &bundle.0.id]).fails(1, "mkdir cgroup");
    bundle.run_as_user(&["--rootless", "perhaps", "list"]).fails(1, "auto, true or false");
    bundle.left_nothing();
}

#[test]
fn what_only_root_can_do_is_said_so() {
    let mut bundle = Rootless::new("true");
    let ids = bundle.0.config["linux"]["uidMappings"].clone();
    bundle.0.config["linux"]["uidMappings"][0]["size"] = json!(2);
    bundle.write();
    let mut without_helpers = bundle.command(&["run", &bundle.0.id]);
    without_helpers.env("PATH", "/nowhere");
    let ran = bundle.0.finish(without_helpers).fails(1, "newuidmap is not installed");
    assert!(ran.err.contains("install the package uidmap"), "{ran:?}");
    bundle.0.config["linux"]["uidMappings"] = ids;
    let list = bundle.0.config["linux"]["namespaces"].as_array_mut().unwrap();
    list.push(json!({ "type": "network", "path": "/proc/1/ns/net" }));
    bundle.write();
    bundle.run().fails(1, "/proc/1/ns/net");
    let mapped = json!([{ "destination": "/tmp", "source": "/tmp", "options": ["rbind", "idmap"] }]);
    let mounts = std::mem::replace(&mut bundle.0.config["mounts"], mapped);
    bundle.write();
    bundle
        .run()
        .fails(1, "mounts[0].options[idmap] in the container's configuration needs a runtime that is started by root");
    bundle.0.config["mounts"] = mounts;
    let list = bundle.0.config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|namespace| namespace["type"] != "user" && namespace["type"] != "network");
    bundle.0.config["linux"]["uidMappings"] = json!([]);
    bundle.0.config["linux"]["gidMappings"] = json!([]);
    bundle.write();
    bundle.run().fails(1, "no user namespace, and only root can do without");
    bundle.left_nothing();
}

#[test]
fn the_helpers_refusal_is_told_and_a_launcher_that_dies_takes_its_child_along() {
    let helper = |bundle: &Rootless, script: &str| {
        let program = bundle.path("bin/newuidmap");
        fs::create_dir_all(bundle.path("bin")).unwrap();
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = bundle.command(&["run", &bundle.0.id]);
        command.env("PATH", format!("{}:/usr/bin:/bin", bundle.path("bin").display()));
        bundle.0.finish(command)
    };
    let mut bundle = Rootless::new("true");
    bundle.0.config["linux"]["uidMappings"][0]["size"] = json!(2);
    bundle.write();
    let ran = helper(&bundle, "echo not for you >&2; exit 3").fails(1, "newuidmap refused the mappings");
    assert!(ran.err.contains("not for you") && ran.err.contains("/etc/subuid"), "{ran:?}");
    bundle.left_nothing();
    let pid = bundle.path("runtime/pid");
    let ran = helper(&bundle, &format!("echo $1 > {}; kill -9 $PPID", pid.display()));
    assert_eq!(ran.code, None, "it was killed: {ran:?}");
    let process = PathBuf::from("/proc").join(fs::read_to_string(pid).unwrap().trim());
    for _ in 0..100 {
        if !process.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!process.exists(), "the container's process waits for a dead launcher");
}

#[test]
fn root_of_a_user_namespace_makes_no_devices_and_needs_no_cgroup() {
    let mut bundle = Rootless::new("id; stat -c %t:%T /dev/null; grep ' /sys ' /proc/mounts");
    bundle.0.config["linux"]["uidMappings"] = Value::Null;
    bundle.0.config["linux"]["gidMappings"] = Value::Null;
    bundle.0.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "user");
    let sysfs = json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"] });
    bundle.0.config["mounts"].as_array_mut().unwrap().push(sysfs);
    bundle.write();
    for mounts in ["--mount", "--keep-caps"] {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", mounts]).arg(bundle.program()).args(["run", &bundle.0.id]);
        command.current_dir(bundle.0.path()).env("XDG_RUNTIME_DIR", bundle.path("runtime")).env("USER", "somebody");
        command.uid(USER).gid(GROUP).stdin(Stdio::null());
        let ran = bundle.0.finish(command);
        assert!(ran.err.contains("without a cgroup of its own"), "{ran:?}");
        let out = ran.ok();
        assert!(out.starts_with("uid=0(root) gid=0\n1:3\nsysfs /sys sysfs ro"), "{out}");
    }
    bundle.left_nothing();
}

#[test]
fn a_directory_with_mounts_below_it_is_bound_with_them_only() {
    let mount = |option: &str| json!([{ "destination": "/tmp", "source": "/dev", "options": [option] }]);
    let mut bundle = Rootless::new("true").set("/mounts", mount("bind"));
    assert!(fs::read_to_string("/proc/self/mounts").unwrap().contains(" /dev/"), "this test needs a mount below /dev");
    let ran = bundle.run().fails(1, "\"/dev\" cannot be bound alone");
    assert!(ran.err.contains("use rbind"), "{ran:?}");
    bundle = bundle.set("/mounts", mount("rbind"));
    bundle.run().ok();
    bundle.left_nothing();
}

#[test]
fn a_stage_works_without_rights_too() {
    let mut bundle = Rootless::new("cat /proc/self/timens_offsets; ls /proc/sys/net/ipv4/conf");
    bundle.0.config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .extend([json!({ "type": "time" }), json!({ "type": "network" })]);
    bundle.0.config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 86_400 } });
    bundle.write();
    let out = bundle.run().ok();
    let fields: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(fields, ["monotonic", "0", "0", "boottime", "86400", "0", "all", "default", "lo"], "{out}");
    bundle.left_nothing();
}

#[test]
fn namespaces_of_another_container_of_the_user_are_joined() {
    let first = Rootless::new("sleep 100");
    first.run_as_user(&["run", "--detach", &first.0.id]).ok();
    let state: Value = serde_json::from_str(&first.run_as_user(&["state", &first.0.id]).ok()).unwrap();
    let pid = state["pid"].as_i64().unwrap();
    let links = "for k in user pid ipc uts; do readlink /proc/self/ns/$k; done";
    let mut second = Rootless::new(links);
    second.0 = crate::user_namespace::joining(
        std::mem::replace(&mut second.0, Bundle::new(&["true"])),
        pid,
        &["user", "pid", "ipc", "uts"],
    );
    second.0.config["linux"]["uidMappings"] = Value::Null;
    second.0.config["linux"]["gidMappings"] = Value::Null;
    second.write();
    let expected: String = ["user", "pid", "ipc", "uts"]
        .map(|kind| format!("{}\n", fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display()))
        .concat();
    assert_eq!(second.run().ok(), expected);
    second.left_nothing();
}
