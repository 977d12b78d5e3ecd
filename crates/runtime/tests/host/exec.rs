// SPDX-License-Identifier: Apache-2.0
//! Other processes in a running container.

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn it_joins_all_namespaces_and_the_cgroup() {
    let bundle = Bundle::new(&["sleep", "100"]).start();
    let script = "for k in pid mnt uts ipc net cgroup; do
        [ $(readlink /proc/self/ns/$k) = $(readlink /proc/1/ns/$k) ] || echo $k differs; done; cat /proc/$$/cgroup";
    let out = bundle.exec(script).ok();
    assert!(!out.contains("differs"), "{out}");
    assert!(out.lines().all(|line| line.ends_with(":/")), "{out}");
    assert_eq!(bundle.exec("ls /").ok(), bundle.exec("ls /proc/1/root/").ok());
}

#[test]
fn it_has_the_containers_privileges_and_filter() {
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }] });
    let bundle = Bundle::new(&["sleep", "100"]).set("/linux/seccomp", filter).start();
    let of = |pid: &str| bundle.exec(&format!("grep -E '^(Cap|NoNew|Seccomp:|Uid)' /proc/{pid}/status")).ok();
    assert_eq!(of("1"), of("self"));
    assert!(of("self").contains("Seccomp:\t2"));
    bundle.exec("mkdir /dev/shm/x").fails(1, "Operation not permitted");
}

#[test]
fn its_exit_code_is_the_commands() {
    let bundle = Bundle::new(&["sleep", "100"]).start();
    assert_eq!(bundle.exec("exit 42").code, Some(42));
    assert_eq!(bundle.exec("kill -9 $$").code, Some(137));
    bundle.oci(&["exec", &bundle.id, "no-such-command"]).fails(127, "executable file not found in $PATH");
    bundle.oci(&["exec", &bundle.id, "/tmp"]).fails(126, "is a directory");
    bundle.oci(&["exec", "--cwd", "/proc/self/fd/3", &bundle.id, "pwd"]).fails(255, "working directory");
}

#[test]
fn user_directory_and_environment_can_be_others() {
    let bundle = Bundle::new(&["sleep", "100"]).start();
    let args = ["exec", "--user", "1000:7", "--cwd", "/tmp", "--env", "A=b", "--additional-gids", "8", &bundle.id];
    let out = bundle.oci(&[&args[..], &["sh", "-c", "id -u; id -G; pwd; echo $A"]].concat()).ok();
    assert_eq!(out, "1000\n7 8\n/tmp\nb\n");
}

#[test]
fn it_needs_a_container_that_has_not_ended() {
    let bundle = Bundle::new(&["true"]);
    bundle.exec("true").fails(255, "does not exist");
    bundle.oci(&["create", &bundle.id]).ok();
    assert_eq!(bundle.exec("echo $$; ls -d /proc/1").ok(), "2\n/proc/1\n");
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    while bundle.state()["status"] != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.exec("true").fails(255, "container not running");
    bundle.oci(&["kill", &bundle.id]).fails(1, "container not running");
}

#[test]
fn in_a_shared_pid_namespace_it_stays_in_it() {
    let kinds = ["mount", "uts", "ipc", "network"].map(|kind| json!({ "type": kind }));
    let bundle = Bundle::new(&["sleep", "100"]).set("/linux/namespaces", json!(kinds)).start();
    let inside = bundle.exec("readlink /proc/self/ns/pid").ok();
    assert_eq!(inside.trim(), std::fs::read_link("/proc/self/ns/pid").unwrap().to_string_lossy());
}
