// SPDX-License-Identifier: Apache-2.0
//! Containers with a user namespace: new, joined, entered by `exec`; and mounts with other ids.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::terminal;

/// The first id of the host that the tests' user namespaces map.
const FIRST: u32 = 100_000;

fn mapping(outside: u32) -> Value {
    json!([{ "containerID": 0, "hostID": outside, "size": 65536 }])
}

/// A bundle in a new user namespace, whose root file system belongs to root there.
pub(crate) fn mapped(script: &str) -> Bundle {
    let bundle = Bundle::script(script)
        .set("/linux/namespaces/-", json!({ "type": "user" }))
        .set("/linux/uidMappings", mapping(FIRST))
        .set("/linux/gidMappings", mapping(FIRST));
    let changed = Command::new("chown").args(["-hR", "100000:100000"]).arg(bundle.rootfs("")).status().unwrap();
    assert!(changed.success());
    bundle
}

/// Puts the container into these namespaces of process `pid`.
pub(crate) fn joining(mut bundle: Bundle, pid: i64, kinds: &[&str]) -> Bundle {
    let list = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|namespace| !kinds.contains(&namespace["type"].as_str().unwrap()));
    for kind in kinds {
        let file = match *kind {
            "network" => "net",
            "mount" => "mnt",
            other => other,
        };
        list.push(json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") }));
    }
    bundle
}

#[test]
fn root_inside_is_another_user_outside_and_the_namespaces_are_its_own() {
    let script = "id; cat /proc/self/uid_map /proc/self/gid_map; hostname; echo x > /tmp/made; stat -c %u:%g /tmp/made; \
                  cat /proc/self/oom_score_adj; echo 1 > /dev/null && echo written; mount -t tmpfs tmpfs /tmp && echo mounted";
    let bundle = mapped(script)
        .set("/root/readonly", json!(false))
        .set("/process/oomScoreAdj", json!(77))
        .set("/process/capabilities/bounding/-", json!("CAP_SYS_ADMIN"))
        .set("/process/capabilities/effective/-", json!("CAP_SYS_ADMIN"))
        .set("/process/capabilities/permitted/-", json!("CAP_SYS_ADMIN"));
    let out = bundle.run().ok();
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    let map = "0     100000      65536";
    assert_eq!(lines, ["uid=0(root) gid=0", map, map, "corten", "0:0", "77", "written", "mounted"], "{out}");
    let made = fs::metadata(bundle.rootfs("tmp/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (FIRST, FIRST));
    bundle.left_nothing();
}

#[test]
fn a_user_with_groups_and_a_terminal_is_who_it_is_inside() {
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [1002, 5] });
    let bundle = mapped("id; stat -c %u:%g $(tty) /dev/console")
        .set("/process/user", user)
        .set("/process/terminal", json!(true));
    let expected = "uid=1000(user) gid=1001 groups=5,1002\n1000:5\n1000:5\n";
    assert_eq!(terminal::said(&bundle, &["run", &bundle.id]), expected);
    let running = mapped("sleep 100").start();
    let args = ["exec", "--tty", "--user", "1000", &running.id, "sh", "-c", "id; stat -c %u:%g $(tty)"];
    assert_eq!(terminal::said(&running, &args), "uid=1000(user) gid=0\n1000:5\n");
}

#[test]
fn what_only_the_launcher_reaches_is_mounted() {
    let bundle = mapped("cat /secret");
    // Nobody but root gets here.
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let secret = bundle.path().join("secret");
    fs::write(&secret, "found\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let mount = json!({ "destination": "/secret", "source": "secret", "options": ["bind", "ro"] });
    let bundle = bundle.set("/mounts/-", mount);
    assert_eq!(bundle.run().ok(), "found\n");
    bundle.left_nothing();
}

#[test]
fn devices_are_the_hosts_own_and_must_be_what_they_are_said_to_be() {
    let device = |minor: u32| json!([{ "path": "/dev/loop-control", "type": "c", "major": 10, "minor": minor }]);
    let script = "stat -c %t:%T /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/loop-control";
    assert!(fs::exists("/dev/loop-control").unwrap(), "this test needs a host with /dev/loop-control");
    let out = mapped(script).set("/linux/devices", device(237)).run().ok();
    assert_eq!(out, "1:3\n1:5\n1:7\n1:8\n1:9\n5:0\na:ed\n");
    let bundle = mapped("true").set("/linux/devices", device(1));
    bundle.run().fails(1, "/dev/loop-control");
    bundle.left_nothing();
}

#[test]
fn interfaces_of_shared_namespaces_are_the_hosts() {
    let mut bundle = mapped("mount; ls /sys/class/net; touch /sys/x; cat /proc/uptime");
    for kind in ["network", "pid"] {
        let list = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != kind);
    }
    let ran = bundle.run();
    assert!(ran.out.contains("on /sys type sysfs (ro"), "{ran:?}");
    assert!(ran.out.contains("on /proc type proc"), "{ran:?}");
    assert!(ran.out.contains("\nlo\n"), "{ran:?}");
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
    bundle.left_nothing();
}

#[test]
fn limits_are_set_from_outside_when_they_are_above_what_the_namespace_allows() {
    let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 }]);
    let out = mapped("ulimit -n; ulimit -Hn").set("/process/rlimits", limit).run().ok();
    assert_eq!(out, "64\n128\n");
}

#[test]
fn parameters_of_its_namespaces_are_set_by_its_own_root() {
    let sysctl =
        json!({ "net.ipv4.ip_unprivileged_port_start": "80", "kernel.shmmni": "123", "fs.mqueue.msg_max": "20" });
    let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max; \
                  hostname; cat /proc/sys/kernel/domainname";
    let bundle = mapped(script).set("/linux/sysctl", sysctl).set("/domainname", json!("d"));
    assert_eq!(bundle.run().ok(), "80\n123\n20\ncorten\nd\n");
}

#[test]
fn a_user_namespace_need_not_have_a_root() {
    let bundle = mapped("id; stat -c %u:%g /dev/shm; cat /proc/self/uid_map")
        .set("/linux/uidMappings", json!([{ "containerID": 1000, "hostID": FIRST, "size": 10 }]))
        .set("/process/user", json!({ "uid": 1001, "gid": 5 }));
    let out = bundle.run().ok();
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words, ["uid=1001", "gid=5", "1001:0", "1000", "100000", "10"], "{out}");
    bundle.left_nothing();
}

#[test]
fn exec_enters_the_user_namespace_too() {
    let bundle = mapped("sleep 100").start();
    let inside = bundle.exec("id; readlink /proc/self/ns/user; cat /proc/self/cgroup").ok();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let user = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert!(inside.starts_with(&format!("uid=0(root) gid=0\n{}\n", user.to_string_lossy())), "{inside}");
    assert!(inside.lines().skip(2).all(|line| line.ends_with(":/")), "{inside}");
    let other = bundle.oci(&["exec", "--user", "1000:1001", &bundle.id, "id"]).ok();
    assert_eq!(other, "uid=1000(user) gid=1001\n");
    bundle.oci(&["exec", "--user", "70000", &bundle.id, "id"]).fails(255, "process.user.uid");
}

#[test]
fn a_user_namespace_is_joined_alone_and_with_any_other() {
    let first = mapped("sleep 100").start();
    let pid = first.state()["pid"].as_i64().unwrap();
    let links = "for k in user pid uts ipc net cgroup; do readlink /proc/self/ns/$k; done; id";
    for kinds in [
        &["user"][..],
        &["user", "pid"],
        &["user", "network"],
        &["user", "ipc", "uts"],
        &["user", "cgroup"],
        &["user", "pid", "network", "ipc", "uts", "cgroup"],
    ] {
        let second = joining(Bundle::script(links), pid, kinds).set("/hostname", json!(""));
        let out = second.run().ok();
        for (line, kind) in out.lines().zip(["user", "pid", "uts", "ipc", "net", "cgroup"]) {
            let of_first = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            let of_host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            let joined = kinds.iter().any(|name| name.starts_with(kind));
            assert_eq!(of_first.to_string_lossy() == line, joined, "{kinds:?}: {out}");
            assert_ne!(of_host.to_string_lossy(), line, "{kinds:?}: {out}");
        }
        assert!(out.ends_with("uid=0(root) gid=0\n"), "{kinds:?}: {out}");
        second.left_nothing();
    }
}

#[test]
fn a_mount_namespace_is_joined_with_its_user_namespace() {
    let first = mapped("sleep 100").start();
    let pid = first.state()["pid"].as_i64().unwrap();
    let mut second = joining(Bundle::script("readlink /proc/self/ns/mnt"), pid, &["user", "pid", "mount"]);
    second.config["mounts"] = json!([]);
    second.config["linux"]["maskedPaths"] = json!([]);
    second.config["linux"]["readonlyPaths"] = json!([]);
    let mount = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    assert_eq!(second.run().ok().trim_end(), mount.to_string_lossy());
}

#[test]
fn namespaces_of_the_host_are_entered_before_the_own_user_namespace_is_made() {
    let own = std::process::id();
    let bundle = joining(mapped("readlink /proc/self/ns/net; id"), own.into(), &["network"]);
    let out = bundle.run().ok();
    let network = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(out.lines().next(), Some(&*network.to_string_lossy()));
    assert!(out.ends_with("uid=0(root) gid=0\n"), "{out}");
    bundle.left_nothing();
}

#[test]
fn create_and_start_work_through_the_stage() {
    let first = mapped("sleep 100").start();
    let pid = first.state()["pid"].as_i64().unwrap();
    let second = joining(Bundle::script("id > /tmp/id; sleep 100"), pid, &["user"]).set("/root/readonly", json!(false));
    assert!(Command::new("chown").args(["-hR", "100000:100000"]).arg(second.rootfs("")).status().unwrap().success());
    second.oci(&["create", &second.id]).ok();
    assert_eq!(second.state()["status"], "created");
    second.oci(&["start", &second.id]).ok();
    let made = second.rootfs("tmp/id");
    for _ in 0..100 {
        if fs::read_to_string(&made).is_ok_and(|text| !text.is_empty()) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(fs::read_to_string(made).unwrap(), "uid=0(root) gid=0\n");
    // The process is the launcher's own child, in its cgroup, and nothing of the stage is left there.
    assert_eq!(second.exec("cat /proc/1/cgroup > /dev/null; ls -d /proc/[0-9]* | wc -l").code, Some(0));
    second.oci(&["delete", "--force", &second.id]).ok();
    second.left_nothing();
}

#[test]
fn what_fails_in_the_stage_or_after_it_is_told_and_leaves_nothing() {
    let first = mapped("sleep 100").start();
    let pid = first.state()["pid"].as_i64().unwrap();
    let mut wrong = joining(Bundle::new(&["true"]), pid, &["user"]);
    wrong.config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "type": "time", "path": "/proc/self/ns/uts" }));
    wrong.run().fails(1, "join CLONE_NEWTIME");
    wrong.left_nothing();
    let missing = joining(Bundle::new(&["/no/such/command"]), pid, &["user"]);
    missing.run().fails(127, "/no/such/command");
    missing.left_nothing();
}

fn bound(bundle: Bundle, extra: Value) -> Bundle {
    let dir = bundle.path().join("data");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    chown(dir.join("file"), Some(1000), Some(1000)).unwrap();
    let mut mount = json!({ "destination": "/data", "source": "data", "options": ["bind", "idmap"] });
    mount.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    bundle.set("/mounts/-", mount)
}

const OWNERS: &str = "stat -c %u:%g /data/file";

#[test]
fn a_mount_is_shown_with_its_own_ids() {
    let to = |outside: u32| json!([{ "containerID": 1000, "hostID": outside, "size": 1 }]);
    let extra = json!({ "uidMappings": to(3000), "gidMappings": to(4000) });
    let bundle = bound(Bundle::script(OWNERS), extra);
    assert_eq!(bundle.run().ok(), "3000:4000\n");
    bundle.left_nothing();
}

#[test]
fn a_mount_without_ids_gets_those_of_the_user_namespace() {
    for option in ["idmap", "ridmap"] {
        let bundle = bound(mapped(OWNERS), json!({ "options": ["rbind", option] }));
        assert_eq!(bundle.run().ok(), "1000:1000\n");
        bundle.left_nothing();
    }
    // Without: the file's owner is nobody there.
    assert_eq!(bound(mapped(OWNERS), json!({ "options": ["rbind"] })).run().ok(), "65534:65534\n");
}

#[test]
fn a_mount_gets_the_ids_of_a_user_namespace_that_is_joined() {
    let first = mapped("sleep 100").start();
    let pid = first.state()["pid"].as_i64().unwrap();
    let second = Bundle::script(OWNERS);
    // Its root has no rights over this file system, which belongs to the host's.
    fs::create_dir(second.rootfs("data")).unwrap();
    let second = bound(joining(second, pid, &["user"]), json!({}));
    assert_eq!(second.run().ok(), "1000:1000\n");
}

#[test]
fn a_file_system_without_id_mapped_mounts_is_named() {
    let mount = json!({ "destination": "/data", "source": "/proc/self", "options": ["bind", "idmap"] });
    let bundle = mapped("true").set("/mounts/-", mount);
    let ran = bundle.run().fails(1, "files on proc cannot be shown with other ids");
    assert!(ran.err.contains("bind /proc/self"), "{ran:?}");
    bundle.left_nothing();
}

/// Where an earlier mount of the container has put it: it is not there before.
#[test]
fn a_source_among_the_containers_own_mounts_may_have_other_ids() {
    let to = |outside: u32| json!([{ "containerID": 1000, "hostID": outside, "size": 1 }]);
    let bundle = bound(Bundle::script("stat -c %u:%g /data/file /again/file"), json!({ "options": ["bind"] }));
    let source = bundle.rootfs("data");
    let mount = json!({ "destination": "/again", "source": source, "options": ["bind", "idmap"],
        "uidMappings": to(3000), "gidMappings": to(4000) });
    let bundle = bundle.set("/mounts/-", mount);
    assert_eq!(bundle.run().ok(), "1000:1000\n3000:4000\n");
    bundle.left_nothing();
}

/// A user namespace is not given more of the host than the host's mount allows.
#[test]
fn a_bind_mount_keeps_what_its_source_is_not_allowed() {
    let flags = "grep ' /data ' /proc/self/mountinfo | cut -d' ' -f6";
    for (options, expected) in [
        (&["bind"][..], "ro,nosuid,nodev,noexec,noatime"),
        (&["bind", "nosuid"], "ro,nosuid,nodev,noexec,noatime"),
        (&["bind", "nosuid", "exec"], "ro,nosuid,nodev,noatime"),
    ] {
        let bundle = bound(mapped(flags), json!({ "options": options }));
        let dir = bundle.path().join("data");
        let options_of_source = "ro,nosuid,nodev,noexec,noatime";
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options_of_source, "tmpfs"]).arg(&dir).status();
        assert!(mounted.unwrap().success());
        let ran = bundle.run();
        rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::empty()).unwrap();
        assert_eq!(ran.ok().trim(), expected, "{options:?}");
        bundle.left_nothing();
    }
}
