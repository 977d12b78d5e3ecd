// SPDX-License-Identifier: Apache-2.0
//! Namespaces and the cgroup, from inside and outside.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

const KINDS: [&str; 6] = ["pid", "mnt", "uts", "ipc", "net", "cgroup"];

fn links(text: &str) -> Vec<&str> {
    text.lines().collect()
}

const READ_LINKS: &str = "for k in pid mnt uts ipc net cgroup; do readlink /proc/self/ns/$k; done";

#[test]
fn every_namespace_asked_for_is_another_than_the_hosts() {
    let bundle = Bundle::script(READ_LINKS);
    let inside = bundle.run().ok();
    for (kind, inside) in KINDS.iter().zip(links(&inside)) {
        let outside = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert!(inside.starts_with(kind), "{inside}");
        assert_ne!(outside.to_string_lossy(), inside);
    }
    bundle.left_nothing();
}

#[test]
fn the_command_is_process_one_and_sees_only_its_own() {
    let out = Bundle::script("echo $$; ps | wc -l 2>/dev/null || ls -d /proc/[0-9]*").run().ok();
    assert_eq!(out.lines().next(), Some("1"));
    assert!(!out.contains("/proc/1000"));
}

#[test]
fn namespaces_are_joined_by_path() {
    let first = Bundle::new(&["sleep", "100"]).start();
    let pid = first.state()["pid"].as_i64().unwrap();
    let named = [("pid", "pid"), ("uts", "uts"), ("ipc", "ipc"), ("network", "net")];
    let mut namespaces: Vec<_> =
        named.iter().map(|(kind, file)| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") })).collect();
    namespaces.push(json!({ "type": "mount" }));
    let second =
        Bundle::script(READ_LINKS).set("/linux/namespaces", json!(namespaces)).set("/hostname", json!("joined"));
    let inside = second.run().ok();
    let inside = links(&inside);
    for (kind, inside) in KINDS.iter().zip(&inside) {
        let of_first = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        let joined = !matches!(*kind, "mnt" | "cgroup");
        assert_eq!(of_first.to_string_lossy() == *inside, joined, "{kind}");
    }
    assert_eq!(first.exec("hostname").ok(), "joined\n");
}

#[test]
fn a_namespace_of_the_wrong_kind_or_none_is_an_error() {
    for (path, text) in [("/proc/self/ns/uts", "EINVAL"), ("/no/such/file", "/no/such/file")] {
        let namespaces = json!([{ "type": "mount" }, { "type": "network", "path": path }]);
        let bundle = Bundle::new(&["true"]).set("/linux/namespaces", namespaces).set("/hostname", json!(""));
        bundle.run().fails(1, text);
        bundle.left_nothing();
    }
}

#[test]
fn the_process_is_in_its_cgroup_and_sees_it_as_the_root() {
    let bundle = Bundle::new(&["sleep", "100"]).start();
    let inside = bundle.exec("cat /proc/1/cgroup").ok();
    assert!(inside.lines().all(|line| line.ends_with(":/")), "{inside}");
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let outside = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = format!("/{}", bundle.id);
    assert!(outside.lines().all(|line| line.ends_with(&own)), "{outside}");
    let shown = bundle.exec("ls /sys/fs/cgroup; touch /sys/fs/cgroup/x 2>&1").out;
    assert!(shown.contains("Read-only file system"), "{shown}");
}

#[test]
fn without_a_cgroup_namespace_only_the_own_cgroup_is_shown() {
    let kinds = ["pid", "mount", "uts", "ipc", "network"].map(|kind| json!({ "type": kind }));
    let script =
        "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | sort -u; cat /proc/1/cgroup";
    let bundle = Bundle::script(script).set("/linux/namespaces", json!(kinds));
    let out = bundle.run().ok();
    assert!(out.contains(&bundle.id), "{out}");
    // On v1 the mount shows this cgroup's processes: the container's own, not the host's.
    if fs::exists("/sys/fs/cgroup/pids").unwrap() {
        assert!(out.lines().filter(|line| line.parse::<u32>().is_ok()).count() < 10, "{out}");
        assert!(out.starts_with('1'), "{out}");
    }
    bundle.left_nothing();
}

#[test]
fn names_and_parameters_are_the_containers_own() {
    let before = (fs::read("/proc/sys/kernel/hostname").unwrap(), fs::read("/proc/sys/net/ipv4/ip_forward").unwrap());
    let sysctl = json!({ "net.ipv4.ip_unprivileged_port_start": "80", "kernel/shmmni": "123" });
    let script = "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni";
    let bundle = Bundle::script(script)
        .set("/hostname", json!("inside"))
        .set("/domainname", json!("d"))
        .set("/linux/sysctl", sysctl);
    assert_eq!(bundle.run().ok(), "inside\nd\n80\n123\n");
    let after = (fs::read("/proc/sys/kernel/hostname").unwrap(), fs::read("/proc/sys/net/ipv4/ip_forward").unwrap());
    assert_eq!(before, after);
}

/// Joining by path may mean sharing: the parameters of the launcher's own network are the host's.
#[test]
fn parameters_of_a_network_that_turns_out_to_be_the_hosts_are_refused() {
    let mut bundle = Bundle::new(&["true"]);
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    namespaces.push(json!({ "type": "network", "path": "/proc/self/ns/net" }));
    let before = fs::read("/proc/sys/net/ipv4/ip_forward").unwrap();
    let bundle = bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    bundle.run().fails(1, "linux.sysctl[net.ipv4.ip_forward]");
    bundle.left_nothing();
    assert_eq!(fs::read("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
}
