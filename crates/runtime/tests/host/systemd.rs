// SPDX-License-Identifier: Apache-2.0
//! `--systemd-cgroup`: containers in scopes, made by a systemd that the tests play themselves.

use std::fs;
use std::path::{Path, PathBuf};

use cgroup::systemd::dbus::Value;
use serde_json::json;

use crate::bundle::{Bundle, Ran};
use crate::fake_systemd::{FakeSystemd, Jobs, property};

struct Container {
    bundle: Bundle,
    address: String,
    slice: String,
}

impl Container {
    fn new(args: &[&str], address: String) -> Container {
        let mut bundle = Bundle::new(args);
        // A slice of the test's own: letters and digits, for a dash would mean a slice in a slice.
        let slice = format!("{}.slice", bundle.id.replace('-', ""));
        bundle.config["linux"]["cgroupsPath"] = json!(format!("{slice}:corten:{}", bundle.id));
        let memory = json!({ "limit": 67_108_864 });
        let bundle = bundle.set("/linux/resources/memory", memory).set("/linux/resources/pids", json!({ "limit": 40 }));
        Container { bundle, address, slice }
    }

    fn oci(&self, args: &[&str]) -> Ran {
        let mut command = self.bundle.command(&[&["--systemd-cgroup"], args].concat());
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.address);
        self.bundle.finish(command)
    }

    /// The container's cgroup directories that exist.
    fn places(&self) -> Vec<PathBuf> {
        let tops = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
        let all = tops.chain([PathBuf::from("/sys/fs/cgroup")]);
        let scope = format!("{}/corten-{}.scope", self.slice, self.bundle.id);
        all.map(|top| top.join(&scope)).filter(|path| path.exists()).collect()
    }

    fn file(&self, name: &str) -> Option<String> {
        let read = |place: &PathBuf| fs::read_to_string(place.join(name)).ok();
        self.places().iter().find_map(read).map(|text| text.trim().to_owned())
    }

    /// Nothing is left; the slices that the hierarchies were given beside systemd's are removed.
    fn left_nothing(&self) {
        assert_eq!(self.places(), Vec::<PathBuf>::new());
        self.bundle.left_nothing();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.bundle.path().join("state").join(&self.bundle.id).exists() {
            self.oci(&["delete", "--force", &self.bundle.id]);
        }
        for top in fs::read_dir("/sys/fs/cgroup").unwrap() {
            drop(fs::remove_dir(top.unwrap().path().join(&self.slice)));
        }
        drop(fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.slice)));
    }
}

#[test]
fn a_containers_life_in_a_scope() {
    let systemd = FakeSystemd::start(Jobs::Succeed);
    let mut container = Container::new(&["sleep", "100"], systemd.address());
    container.bundle.config["annotations"] = json!({ "org.systemd.property.TimeoutStopSec": "uint64 7" });
    let id = container.bundle.id.clone();
    container.oci(&["run", "--detach", &id]).ok();

    let started = systemd.last("StartTransientUnit");
    assert_eq!(started[0], Value::text(format!("corten-{id}.scope")));
    assert_eq!(property(&started, "Slice"), Some(Value::text(&container.slice)));
    assert_eq!(property(&started, "Delegate"), Some(Value::Bool(true)));
    assert_eq!(property(&started, "DefaultDependencies"), Some(Value::Bool(false)));
    assert_eq!(property(&started, "TasksMax"), Some(Value::Uint64(40)));
    let memory = property(&started, "MemoryMax").or(property(&started, "MemoryLimit"));
    assert_eq!(memory, Some(Value::Uint64(67_108_864)));
    assert_eq!(property(&started, "TimeoutStopUSec"), Some(Value::Uint64(7_000_000)));
    assert_eq!(property(&started, "DevicePolicy"), Some(Value::text("strict")));

    // All hierarchies, those too that systemd left out; and nobody but the container is inside.
    let pid = container.bundle.state()["pid"].to_string();
    let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = format!("/{}/corten-{id}.scope", container.slice);
    assert!(memberships.lines().all(|line| line.ends_with(&path)), "{memberships}");
    assert_eq!(container.file("cgroup.procs"), Some(pid));
    assert_eq!(container.file("pids.max").as_deref(), Some("40"));
    assert_eq!(
        container.bundle.exec("cat /proc/self/cgroup").ok().lines().next().map(|line| line.ends_with(":/")),
        Some(true)
    );

    container.oci(&["update", "--pids-limit", "50", &id]).ok();
    assert_eq!(property(&systemd.last("SetUnitProperties"), "TasksMax"), Some(Value::Uint64(50)));
    assert_eq!(container.file("pids.max").as_deref(), Some("50"));
    // What only the kernel refuses is taken back from systemd as well.
    container.oci(&["update", "--pids-limit", "60", "--cpu-period", "1", &id]).fails(1, "Invalid argument");
    assert_eq!(property(&systemd.last("SetUnitProperties"), "TasksMax"), Some(Value::Uint64(50)));
    assert_eq!(container.file("pids.max").as_deref(), Some("50"));

    for (command, status) in [("pause", "paused"), ("resume", "running")] {
        container.oci(&[command, &id]).ok();
        assert_eq!(container.bundle.state()["status"], status);
    }
    container.oci(&["delete", "--force", &id]).ok();
    assert_eq!(systemd.last("StopUnit")[0], started[0]);
    assert_eq!(systemd.last("ResetFailedUnit")[0], started[0]);
    container.left_nothing();
}

#[test]
fn a_container_in_the_foreground_leaves_no_scope() {
    let systemd = FakeSystemd::start(Jobs::Succeed);
    let container = Container::new(&["sh", "-c", "exit 7"], systemd.address());
    assert_eq!(container.oci(&["run", &container.bundle.id]).code, Some(7));
    container.left_nothing();
    let container = Container::new(&["no-such-command"], systemd.address());
    container.oci(&["run", &container.bundle.id]).fails(127, "no-such-command");
    container.left_nothing();
    systemd.last("StopUnit");
}

#[test]
fn a_job_that_fails_is_told_and_leaves_nothing() {
    let systemd = FakeSystemd::start(Jobs::Fail);
    let container = Container::new(&["true"], systemd.address());
    container.oci(&["run", &container.bundle.id]).fails(1, "StartTransientUnit");
    container.left_nothing();
    systemd.last("ResetFailedUnit");
}

/// Only the kernel knows; then the scope is there already, and the placeholder in it.
#[test]
fn a_limit_that_the_kernel_refuses_ends_the_scope() {
    let systemd = FakeSystemd::start(Jobs::Succeed);
    let mut container = Container::new(&["true"], systemd.address());
    container.bundle.config["linux"]["resources"]["cpu"] = json!({ "period": 1 });
    container.oci(&["run", &container.bundle.id]).fails(1, "Invalid argument");
    systemd.last("StopUnit");
    container.left_nothing();
}

#[test]
fn without_a_systemd_the_sockets_are_named() {
    let container = Container::new(&["true"], "unix:path=/no/such/bus".into());
    let ran = container.oci(&["run", &container.bundle.id]).fails(1, "/no/such/bus");
    // On a host that has one, its private socket would have answered.
    assert!(ran.err.contains("/run/systemd/private") && ran.err.contains("boot the host with systemd"), "{}", ran.err);
    container.left_nothing();
}

#[test]
fn an_annotation_that_is_no_property_is_refused_by_name() {
    let mut container = Container::new(&["true"], "unix:path=/no/such/bus".into());
    container.bundle.config["annotations"] = json!({ "org.systemd.property.TimeoutStopSec": "soon" });
    container.oci(&["run", &container.bundle.id]).fails(1, "org.systemd.property.TimeoutStopSec");
    container.left_nothing();
}

#[test]
fn a_path_that_names_no_scope_is_refused_before_anybody_is_asked() {
    let mut container = Container::new(&["true"], "unix:path=/no/such/bus".into());
    for path in ["/a/path", "system.slice:x", "no-slice:a:b"] {
        container.bundle.config["linux"]["cgroupsPath"] = json!(path);
        container.oci(&["run", &container.bundle.id]).fails(1, "slice:prefix:name");
        container.left_nothing();
    }
}
