// SPDX-License-Identifier: Apache-2.0

use api_types::explain::{Capabilities, Capability, Device, Filter, Identity, Limit, Namespace, PortPath};

use super::*;

fn namespace(kind: &str, own: bool) -> Namespace {
    Namespace { kind: kind.to_owned(), inode: 2 - u64::from(!own), host_inode: 1, own }
}

fn mount(target: &str, source: Option<&str>, read_only: bool) -> MountPoint {
    MountPoint {
        target: target.to_owned(),
        kind: "x".to_owned(),
        from: String::new(),
        source: source.map(str::to_owned),
        is_socket: source.is_some_and(|source| source.ends_with(".socket")),
        read_only,
        options: String::new(),
    }
}

fn capability(name: &str, unusual: bool) -> Capability {
    Capability { name: name.to_owned(), allows: format!("what {name} allows"), unusual }
}

fn limit(name: &str, limit: Option<u64>) -> Limit {
    Limit { name: name.to_owned(), limit, used: None, unit: String::new(), note: String::new() }
}

/// A container with every barrier there is.
fn good() -> Explanation {
    let mut namespaces: Vec<Namespace> =
        ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"].map(|kind| namespace(kind, true)).into();
    namespaces.push(namespace("time", false));
    Explanation {
        namespaces,
        identity: Identity { no_new_privileges: true, ..Identity::default() },
        capabilities: Capabilities {
            kept: vec![capability("CAP_CHOWN", false)],
            dropped: vec![capability("CAP_SYS_ADMIN", true)],
            in_effect: 1,
        },
        filter: Filter { active: true, allowed: 300, ..Filter::default() },
        mounts: vec![
            mount("/", None, false),
            mount("/proc/kcore", None, true),
            mount("/proc/sys", None, true),
            mount("/sys", None, true),
        ],
        devices: vec![Device { path: "/dev/null".into(), number: "c 1:3".into(), usual: true }],
        limits: ["memory", "pids", "cpu"].map(|name| limit(name, Some(1))).into(),
        ..Explanation::default()
    }
}

fn told(of: &Explanation) -> Vec<(Severity, String)> {
    found(of).into_iter().map(|reach| (reach.severity, reach.what)).collect()
}

/// The first finding of a container that differs in one thing.
fn with(change: impl FnOnce(&mut Explanation)) -> (Severity, String) {
    let mut of = good();
    change(&mut of);
    let told = told(&of);
    assert_eq!(told.len(), 2, "{told:?}");
    told[0].clone()
}

#[test]
fn a_good_container_has_the_kernel_only() {
    assert_eq!(told(&good()), [(Low, "the host's kernel, by 300 system calls".to_owned())]);
}

#[test]
fn each_missing_barrier_is_named() {
    let shared = |kind: &'static str| {
        with(|of| of.namespaces.iter_mut().filter(|one| one.kind == kind).for_each(|one| one.own = false))
    };
    assert_eq!(shared("pid"), (High, "the host's pid namespace".into()));
    assert_eq!(shared("net"), (Medium, "the host's net namespace".into()));
    assert_eq!(shared("user"), (Medium, "its root is the host's root".into()));
    assert_eq!(with(|of| of.capabilities.dropped.clear()), (High, "all capabilities".into()));
    let added = |name: &'static str| with(|of| of.capabilities.kept.push(capability(name, true)));
    assert_eq!(added("CAP_SYS_ADMIN"), (High, "the capability CAP_SYS_ADMIN".into()));
    assert_eq!(added("CAP_NET_ADMIN"), (Medium, "the capability CAP_NET_ADMIN".into()));
    assert_eq!(with(|of| of.limits[1].limit = None), (Low, "no limit of pids".into()));
    let device = Device { path: "/dev/sda".into(), number: "b 8:0".into(), usual: false };
    assert_eq!(with(|of| of.devices.push(device)), (Medium, "the device /dev/sda (b 8:0)".into()));
    let port = PortPath { host: "0.0.0.0:80/tcp".into(), container: "x".into(), way: Vec::new() };
    assert_eq!(with(|of| of.ports.push(port)), (Low, "the port 0.0.0.0:80/tcp".into()));
    assert_eq!(with(|of| of.mounts[3].read_only = false), (High, "/sys can be written to".into()));
    assert_eq!(with(|of| of.mounts[2].read_only = false), (High, "/proc/sys can be written to".into()));
    assert_eq!(with(|of| drop(of.mounts.remove(1))).0, Medium);
}

#[test]
fn no_filter_opens_every_call() {
    let mut of = good();
    of.filter.active = false;
    let expected = [(Medium, "no system call filter".into()), (Low, "the host's kernel, by every system call".into())];
    assert_eq!(told(&of), expected);
}

#[test]
fn files_of_the_host_are_judged_by_what_they_decide() {
    let bound = |source: &'static str, read_only| with(|of| of.mounts.push(mount("/x", Some(source), read_only))).0;
    assert_eq!(bound("/", false), High);
    assert_eq!(bound("/", true), Medium);
    assert_eq!(bound("/etc", false), High);
    assert_eq!(bound("/etc", true), Low);
    assert_eq!(bound("/var/lib/some/deep/place", false), Medium);
    assert_eq!(bound("/srv/data", false), Low);
    assert_eq!(bound("/run/docker.sock", true), High);
    assert_eq!(bound("/tmp/my-corten.sock", false), High);
    assert_eq!(bound("/srv/any.socket", true), Medium);
    // Nothing is told of what can only be read and decides nothing.
    let mut of = good();
    of.mounts.push(mount("/x", Some("/srv/data"), true));
    assert_eq!(told(&of).len(), 1);
    // A name that only begins alike is another directory.
    assert_eq!(bound("/etcetera", false), Low);
}

#[test]
fn whose_root_is_nobody_on_the_host_reaches_less() {
    let mapped = |change: fn(&mut Explanation)| {
        with(|of| {
            of.identity.uid_map = vec!["0 1000000 65536".into()];
            change(of);
        })
    };
    assert_eq!(
        mapped(|of| of.capabilities.kept.push(capability("CAP_SYS_ADMIN", true))),
        (Low, "the capability CAP_SYS_ADMIN, in its user namespace".into())
    );
    assert_eq!(mapped(|of| of.capabilities.dropped.clear()).0, Medium);
    assert_eq!(mapped(|of| of.mounts.push(mount("/h", Some("/"), false))), (Low, "/ of the host".into()));
    let idmapped = MountPoint { options: "rw,relatime,idmapped".into(), ..mount("/h", Some("/"), false) };
    let mut of = good();
    of.identity.uid_map = vec!["0 1000000 65536".into()];
    of.mounts.push(idmapped);
    assert_eq!(told(&of)[0].0, High, "what is shown with its ids is its root's");
}
