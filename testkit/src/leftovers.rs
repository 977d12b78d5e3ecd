// SPDX-License-Identifier: Apache-2.0
//! What a daemon, a shim or a container could leave behind, counted from outside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::corten::binary;
use crate::daemon::Daemon;
use crate::sandbox::mount_points;

/// The whole machine's count of what a container is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    mounts: Vec<String>,
    network_namespaces: BTreeSet<PathBuf>,
    interfaces: BTreeSet<String>,
}

impl Leftovers {
    /// The host's mounts, interfaces, and the network namespaces in which a process lives.
    pub fn snapshot() -> Leftovers {
        let namespaces = processes().into_iter().filter_map(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok());
        Leftovers {
            mounts: mount_points("/proc/self/mountinfo"),
            network_namespaces: namespaces.collect(),
            interfaces: fs::read_dir("/sys/class/net")
                .expect("/sys")
                .filter_map(Result::ok)
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
        }
    }

    /// Nothing has come to the host since: no mount, no interface. (Namespaces of tests that run beside this one come and
    /// go; they are not compared.)
    ///
    /// # Panics
    /// When something has.
    #[track_caller]
    pub fn assert_host_unchanged(&self) {
        let now = Leftovers::snapshot();
        assert_eq!(now.mounts, self.mounts, "mounts of the host");
        assert_eq!(now.interfaces, self.interfaces, "interfaces of the host");
    }
}

/// The roots of the cgroup hierarchies: each v1 controller's and v2's.
pub fn cgroup_roots() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    let of_cgroups = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
    let mut roots: Vec<PathBuf> =
        table.lines().filter(of_cgroups).filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect();
    roots.dedup();
    roots
}

/// Every cgroup strictly below `parent`, in every hierarchy.
pub fn cgroups_below(parent: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in cgroup_roots() {
        collect_directories(&root.join(parent.trim_start_matches('/')), &mut found);
    }
    found
}

fn collect_directories(directory: &Path, into: &mut Vec<PathBuf>) {
    // What is not there has nothing below it.
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            into.push(entry.path());
            collect_directories(&entry.path(), into);
        }
    }
}

/// Removes a test's own cgroups, children first, as far as nothing is in them.
pub fn remove_cgroups(parent: &str) {
    let below = cgroups_below(parent).into_iter().rev();
    let own = cgroup_roots().into_iter().map(|root| root.join(parent.trim_start_matches('/')));
    for path in below.chain(own) {
        // One that is in use, or not there, is not removed.
        let _ = fs::remove_dir(path);
    }
}

/// The processes of the machine.
fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

/// The processes that belong to a daemon, except the daemon itself and its zygote while it runs: in its cgroup, or the
/// binary under test with a descriptor or an argument below its directory. `PID command line`.
pub fn processes_of(daemon: &Daemon) -> Vec<String> {
    let own = daemon_and_its_zygote(daemon);
    ours(daemon)
        .into_iter()
        .filter(|pid| !own.contains(pid))
        .map(|pid| format!("{pid} {}", command_line(pid)))
        .collect()
}

fn daemon_and_its_zygote(daemon: &Daemon) -> Vec<i32> {
    let Some(pid) = daemon.running_pid() else { return Vec::new() };
    let mut own = vec![pid];
    own.extend(
        processes().into_iter().filter(|child| parent(*child) == Some(pid) && command_line(*child).contains("zygote")),
    );
    own
}

fn ours(daemon: &Daemon) -> Vec<i32> {
    let binary = binary().canonicalize().unwrap_or_else(|_| binary());
    let namespaces = daemon.sandbox().namespaces();
    let own_process = i32::try_from(std::process::id()).unwrap_or_default();
    processes()
        .into_iter()
        .filter(|pid| *pid != own_process)
        .filter(|pid| {
            let in_cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))
                .is_ok_and(|table| table.lines().any(|line| line.contains(&format!("{}/", daemon.cgroup()))));
            let is_corten = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary);
            in_cgroup || (is_corten && (works_in(*pid, daemon.path()) || shares(*pid, &namespaces)))
        })
        .collect()
}

fn shares(pid: i32, namespaces: &[PathBuf; 2]) -> bool {
    ["net", "mnt"]
        .iter()
        .zip(namespaces)
        .any(|(kind, namespace)| fs::read_link(format!("/proc/{pid}/ns/{kind}")).is_ok_and(|link| link == *namespace))
}

fn works_in(pid: i32, directory: &Path) -> bool {
    let links = ["cwd".to_owned(), "root".to_owned()].into_iter().chain(
        fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| format!("fd/{}", entry.file_name().to_string_lossy())),
    );
    let mut links = links.filter_map(|link| fs::read_link(format!("/proc/{pid}/{link}")).ok());
    links.any(|target| target.starts_with(directory)) || command_line(pid).contains(&*directory.to_string_lossy())
}

/// A process's command line, words separated by spaces; empty when it has ended.
pub fn command_line(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

/// A process's parent, while it lives.
pub fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Ends what a failed test has left, each by its id.
pub(crate) fn end_processes_of(daemon: &Daemon) {
    for _ in 0..3 {
        for pid in ours(daemon) {
            if let Some(pid) = Pid::from_raw(pid) {
                // It may have ended on its own.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
