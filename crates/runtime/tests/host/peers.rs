// SPDX-License-Identifier: Apache-2.0
//! What the test suites of runc and of the specification's tools found: each test is named after what broke.

use std::fs;
use std::os::fd::AsRawFd;

use serde_json::json;

use crate::bundle::Bundle;

/// A descriptor of a directory of the host's is a way out for whoever comes to have it (CVE-2024-21626).
#[test]
fn a_process_that_waited_for_start_had_a_descriptor_of_the_hosts_procfs() {
    let bundle = Bundle::script("cat /proc/self/fd/* 2>/dev/null | head -c 0; ls /proc/self/fd");
    bundle.oci(&["create", &bundle.id]).ok();
    let pid = bundle.state()["pid"].to_string();
    let mut targets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap() > 2)
        .map(|entry| fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned())
        .collect();
    targets.sort();
    let fifo = bundle.path().join("state").join(&bundle.id).join("exec.fifo");
    assert_eq!(targets.len(), 3, "{targets:?}");
    assert_eq!(targets[0], fifo.to_string_lossy());
    assert_eq!(targets[1], "anon_inode:[signalfd]");
    assert!(targets[2].starts_with("pipe:"), "{targets:?}");
    bundle.oci(&["start", &bundle.id]).ok();
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    bundle.left_nothing();
}

#[test]
fn start_tells_of_a_process_that_was_killed_while_it_waited() {
    let bundle = Bundle::new(&["true"]);
    bundle.oci(&["create", &bundle.id]).ok();
    bundle.oci(&["pause", &bundle.id]).ok();
    bundle.oci(&["start", &bundle.id]).fails(1, "paused");
    bundle.oci(&["resume", &bundle.id]).ok();
    // It cannot go on when `start` reads.
    bundle.oci(&["kill", &bundle.id, "STOP"]).ok();
    let mut start = bundle.command(&["start", &bundle.id]);
    let start = start.stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(bundle.state()["status"], "created");
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    let output = start.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("killed while it waited for start"), "{told}");
    bundle.oci(&["delete", &bundle.id]).ok();
    bundle.left_nothing();
}

#[test]
fn an_empty_home_stayed_empty_and_a_variable_given_twice_was_there_twice() {
    let bundle = Bundle::new(&["cat", "/proc/self/environ"])
        .set("/process/env", json!(["PATH=/nowhere", "ONE=two", "HOME=/x", "PATH=/bin", "ONE=three", "HOME="]));
    let out = bundle.run().ok();
    assert_eq!(out, "PATH=/bin\0ONE=three\0HOME=/root\0");
}

#[test]
fn a_group_given_twice_was_there_twice() {
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [1001, 1001, 1002] });
    let out = Bundle::script("grep ^Groups /proc/self/status").set("/process/user", user).run().ok();
    assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["Groups:", "1001", "1002"]);
}

#[test]
fn a_frozen_cgroup_that_was_there_before_was_taken() {
    let bundle = Bundle::new(&["true"]);
    let freezer = ["/sys/fs/cgroup/freezer", "/sys/fs/cgroup"].map(std::path::Path::new);
    let freezer = freezer.into_iter().find(|place| place.join("cgroup.procs").exists()).unwrap().join(&bundle.id);
    fs::create_dir(&freezer).unwrap();
    let v1 = freezer.join("freezer.state").exists();
    let (file, frozen, thawed) = if v1 { ("freezer.state", "FROZEN", "THAWED") } else { ("cgroup.freeze", "1", "0") };
    fs::write(freezer.join(file), frozen).unwrap();
    bundle.run().fails(1, "container's cgroup unexpectedly frozen");
    assert_eq!(bundle.cgroups(), std::slice::from_ref(&freezer));
    // One that is not, and is empty, is used as it is, and goes with the container.
    fs::write(freezer.join(file), thawed).unwrap();
    bundle.run().ok();
    bundle.left_nothing();
}

#[test]
fn what_scripts_look_for_was_not_in_the_messages() {
    let bundle = Bundle::new(&["sleep", "100"]).start();
    bundle.oci(&["run", "--detach", "another"]).fails(1, "container's cgroup is not empty");
    bundle.oci(&["pause", &bundle.id]).ok();
    bundle.exec("true").fails(255, "cannot exec in a paused container");
    bundle.oci(&["resume", &bundle.id]).ok();
    bundle.oci(&["kill", &bundle.id, "0"]).ok();
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    bundle.oci(&["kill", &bundle.id, "0"]).fails(1, "does not exist");
    let nowhere = bundle.path().join("nowhere");
    bundle.oci(&["--root", nowhere.to_str().unwrap(), "list"]).fails(1, "nowhere");
}

#[test]
fn a_pidfd_socket_was_an_unknown_flag() {
    let bundle = Bundle::new(&["sleep", "100"]);
    let path = bundle.path().join("pidfd.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let socket = path.to_str().unwrap();
    let received = || {
        let (connection, _) = listener.accept().unwrap();
        let (count, mut fds) = sys::fds::recv_with(&connection, &mut [0; 64]).unwrap();
        assert_eq!((count, fds.len()), (5, 1));
        let fd = fds.remove(0);
        fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap()
    };
    bundle.oci(&["run", "--detach", "--pidfd-socket", socket, &bundle.id]).ok();
    assert!(received().contains(&format!("\nPid:\t{}\n", bundle.state()["pid"])));
    bundle.oci(&["exec", "--detach", "--pidfd-socket", socket, "--pid-file", "pid", &bundle.id, "sleep", "100"]).ok();
    let pid = fs::read_to_string(bundle.path().join("pid")).unwrap();
    assert!(received().contains(&format!("\nPid:\t{pid}\n")));
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    bundle.oci(&["create", "--pidfd-socket", "nowhere", &bundle.id]).fails(1, "connect to the pidfd socket");
    bundle.left_nothing();
}

#[test]
fn an_option_that_means_nothing_on_a_bind_mount_was_refused() {
    let bundle = Bundle::script("cat /data/file");
    fs::write(bundle.path().join("file"), "seen").unwrap();
    let mount = json!({ "destination": "/data", "type": "bind", "source": bundle.path(),
        "options": ["rbind", "mode=755", "ro"] });
    let bundle = bundle.set("/mounts/-", mount);
    let ran = bundle.run();
    assert!(ran.err.contains("mounts[7].options: \"mode\" means nothing on a bind mount"), "{}", ran.err);
    assert_eq!(ran.ok(), "seen");
    let told = bundle.oci(&["run", "--dry-run", &bundle.id]);
    assert!(told.err.contains("means nothing on a bind mount"), "{}", told.err);
    told.ok();
}

#[test]
fn what_an_earlier_mount_had_put_below_the_root_could_not_be_bound() {
    let bundle = Bundle::script("cat /mnt/file /again/file; mount | grep -c ' /again '");
    for name in ["outer/inner", "rootfs/mnt"] {
        fs::create_dir_all(bundle.path().join(name)).unwrap();
    }
    fs::write(bundle.path().join("outer/inner/file"), "seen\n").unwrap();
    let bind = |source: std::path::PathBuf, destination: &str| json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind"] });
    let (outer, inside) = (bundle.path().join("outer/inner"), bundle.rootfs("mnt"));
    let bundle = bundle.set("/mounts/-", bind(outer, "/mnt")).set("/mounts/-", bind(inside, "/again"));
    let bundle = bundle.set("/root/readonly", json!(false));
    assert_eq!(bundle.run().ok(), "seen\nseen\n1\n");
    // The kernel's own interface has only one place.
    let proc = bind(bundle.rootfs("proc"), "/kernel");
    bundle.set("/mounts/-", proc).run().fails(1, "mounts[9]");
}

fn namespaces(change: impl Fn(&mut Vec<serde_json::Value>), bundle: Bundle) -> Bundle {
    let mut list = bundle.config["linux"]["namespaces"].as_array().unwrap().clone();
    change(&mut list);
    bundle.set("/linux/namespaces", json!(list))
}

/// The specification wants the runtime's own then; nothing of it may be changed.
#[test]
fn a_container_without_a_mount_namespace_was_refused() {
    let bundle =
        Bundle::script("ls /; readlink /proc/self/ns/mnt; mount | wc -l; ls /dev/null /proc/1/status; ls /proc/acpi");
    let bundle = namespaces(|list| list.retain(|namespace| namespace["type"] != "mount"), bundle);
    bundle.run().fails(1, "mounts[6] in the container's configuration needs a mount namespace");
    let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
    mounts.pop();
    let bundle = bundle.set("/mounts", json!(mounts));
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ran = bundle.run();
    let out = ran.out;
    assert!(out.contains(&*fs::read_link("/proc/self/ns/mnt").unwrap().to_string_lossy()), "{out} {}", ran.err);
    assert!(
        out.starts_with("bin\ndev\netc\nproc\n") && out.contains("/dev/null\n/proc/1/status\n"),
        "{out} {}",
        ran.err
    );
    let shared = |text: &str| text.lines().filter(|line| line.contains("shared:")).count();
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(shared(&after), shared(&before));
    bundle.left_nothing();
    let bundle = bundle.set("/process/args", json!(["sleep", "100"])).start();
    bundle.exec("true").fails(255, "needs a mount namespace");
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    bundle.left_nothing();
}

#[test]
fn mounts_in_a_mount_namespace_joined_by_path_were_refused() {
    let other = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sleep", "100"])
        .spawn()
        .unwrap();
    let path = |pid: u32| format!("/proc/{pid}/ns/mnt");
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    while fs::read_link(path(other.id())).is_ok_and(|found| found == own) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let join = |pid: u32| {
        let bundle = Bundle::script("readlink /proc/self/ns/mnt; ls -d /etc/passwd");
        namespaces(
            |list| {
                list.retain(|namespace| namespace["type"] != "mount");
                list.push(json!({ "type": "mount", "path": path(pid) }));
            },
            bundle,
        )
    };
    let bundle = join(other.id());
    let ran = bundle.run();
    let expected = format!("{}\n/etc/passwd\n", fs::read_link(path(other.id())).unwrap().display());
    let mut other = other;
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(ran.ok(), expected);
    bundle.left_nothing();
    // The host's own would have its mounts replaced.
    join(std::process::id()).run().fails(1, "mounts in the container's configuration needs a mount namespace");
}

#[test]
fn a_container_that_waited_for_start_could_only_be_ended_by_sigkill() {
    let bundle = Bundle::new(&["true"]);
    bundle.oci(&["create", &bundle.id]).ok();
    bundle.oci(&["kill", &bundle.id, "USR1"]).ok();
    assert_eq!(bundle.state()["status"], "created");
    bundle.oci(&["kill", &bundle.id, "TERM"]).ok();
    while bundle.state()["status"] != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.oci(&["delete", &bundle.id]).ok();
    bundle.left_nothing();
}

#[test]
fn flags_after_the_id_were_refused_and_a_mask_given_twice_was_there_twice() {
    let bundle = Bundle::script("grep -c ' /proc/keys ' /proc/self/mountinfo")
        .set("/linux/maskedPaths", json!(["/proc/keys", "/proc/keys"]));
    assert_eq!(bundle.run().ok(), "1\n");
    let bundle = bundle.set("/process/args", json!(["sleep", "100"])).start();
    bundle.oci(&["update", &bundle.id, "--pids-limit", "77"]).ok();
    bundle.oci(&["delete", &bundle.id, "--force"]).ok();
    bundle.left_nothing();
}
