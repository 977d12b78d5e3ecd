// SPDX-License-Identifier: Apache-2.0
//! A process's cgroup, looked at from outside, on whichever version its controller lives.

use std::fs;
use std::path::PathBuf;

/// The version a controller lives on here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy of its own.
    V1,
    /// The unified hierarchy.
    V2,
}

/// The directory of a process's cgroup for one controller, and the version.
///
/// # Panics
/// When the process is not there or no hierarchy is mounted.
pub fn of(pid: i64, controller: &str) -> (PathBuf, Version) {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process lives");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    let rows = table.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some((controllers.to_owned(), path.trim_start_matches('/').to_owned()))
    });
    let (mut own, mut unified) = (None, None);
    for (controllers, path) in rows {
        if controllers.split(',').any(|name| name == controller) {
            own = Some(path);
        } else if controllers.is_empty() {
            unified = Some(path);
        }
    }
    match (own, unified) {
        (Some(path), _) => (mount_point(&mounts, "cgroup", controller).join(path), Version::V1),
        (None, Some(path)) => (mount_point(&mounts, "cgroup2", "").join(path), Version::V2),
        (None, None) => panic!("process {pid} has no cgroup:\n{table}"),
    }
}

/// Where a hierarchy is mounted: proc(5), mountinfo.
fn mount_point(mounts: &str, kind: &str, controller: &str) -> PathBuf {
    let found = mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (this, options) = (back.next()?, back.nth(1)?);
        let right = this == kind && (controller.is_empty() || options.split(',').any(|option| option == controller));
        right.then(|| PathBuf::from(front.split(' ').nth(4).unwrap_or_default()))
    });
    found.unwrap_or_else(|| panic!("no {kind} hierarchy with {controller:?} is mounted"))
}

/// The number in a file of a process's cgroup: its v1 name, its v2 name. `None` for `max`.
///
/// # Panics
/// When the file is not there or holds something else.
pub fn number(pid: i64, controller: &str, v1: &str, v2: &str) -> Option<u64> {
    let (directory, version) = of(pid, controller);
    let path = directory.join(if version == Version::V1 { v1 } else { v2 });
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = text.trim();
    (text != "max").then(|| text.parse().unwrap_or_else(|error| panic!("{}: {text:?}: {error}", path.display())))
}

/// Processor time used so far, in nanoseconds.
///
/// # Panics
/// When the controller is not there.
pub fn cpu_nanoseconds(pid: i64) -> u64 {
    let (directory, version) = of(pid, "cpuacct");
    match version {
        Version::V1 => number(pid, "cpuacct", "cpuacct.usage", "").expect("a number"),
        Version::V2 => stat(&directory.join("cpu.stat"), "usage_usec") * 1000,
    }
}

/// How often the scheduler has held it back.
///
/// # Panics
/// When the controller is not there.
pub fn times_throttled(pid: i64) -> u64 {
    stat(&of(pid, "cpu").0.join("cpu.stat"), "nr_throttled")
}

fn stat(path: &std::path::Path, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{} has no {key}", path.display()))
}
