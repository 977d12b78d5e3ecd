// SPDX-License-Identifier: Apache-2.0
//! create, start, state, kill, delete, list; and what goes wrong on the way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bundle::Bundle;

#[test]
fn a_life() {
    let bundle = Bundle::script("echo started > /dev/shm/x; exec sleep 100");
    bundle.oci(&["create", "--pid-file", "pid", &bundle.id]).ok();
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["ociVersion"], bundle.config["ociVersion"]);
    assert_eq!(fs::read_to_string(bundle.path().join("pid")).unwrap(), state["pid"].to_string());
    bundle.oci(&["create", &bundle.id]).fails(1, "exists already");
    bundle.oci(&["start", &bundle.id]).ok();
    assert_eq!(bundle.state()["status"], "running");
    assert_eq!(bundle.exec("cat /dev/shm/x").ok(), "started\n");
    bundle.oci(&["start", &bundle.id]).fails(1, "running");
    bundle.oci(&["delete", &bundle.id]).fails(1, "stopped");
    let listed: Value = serde_json::from_str(&bundle.oci(&["list", "--format", "json"]).ok()).unwrap();
    assert_eq!(listed[0]["id"], json!(bundle.id));
    bundle.oci(&["kill", &bundle.id, "SIGKILL"]).ok();
    while bundle.state()["status"] != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.oci(&["kill", &bundle.id]).fails(1, "stopped");
    bundle.oci(&["delete", &bundle.id]).ok();
    bundle.left_nothing();
    bundle.oci(&["state", &bundle.id]).fails(1, "does not exist");
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn deleting_by_force_ends_what_runs_and_what_waits() {
    for action in ["create", "run"] {
        let bundle = Bundle::new(&["sleep", "100"]);
        let flags: &[&str] = if action == "run" { &["--detach"] } else { &[] };
        bundle.oci(&[&[action], flags, &[&bundle.id]].concat()).ok();
        let pid = bundle.state()["pid"].to_string();
        bundle.oci(&["delete", "--force", &bundle.id]).ok();
        bundle.left_nothing();
        assert!(!fs::exists(format!("/proc/{pid}/root/bin")).unwrap());
    }
}

#[test]
fn what_a_killed_delete_left_can_be_deleted() {
    let hooked = |script: &str| {
        let hook = json!({ "poststop": [{ "path": "/bin/false" }] });
        let bundle = Bundle::script(script).set("/hooks", hook);
        bundle.oci(&["run", "--detach", &bundle.id]).ok();
        bundle
    };
    let (ended, running) = (hooked("exit 0"), hooked("sleep 100"));
    for (bundle, force) in [(&ended, &[][..]), (&running, &["--force"])] {
        while bundle.state()["status"] == "running" && force.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        fs::remove_file(bundle.path().join("state").join(&bundle.id).join("config.json")).unwrap();
        // Those beside it can be listed.
        let listed = bundle.oci(&["list"]);
        assert!(listed.err.contains(&format!("{} is left out", bundle.id)), "{listed:?}");
        assert_eq!(listed.ok().lines().count(), 1);
        let deleted = bundle.oci(&[&["delete"], force, &[&bundle.id]].concat());
        assert!(deleted.err.contains("warning: poststop hooks are not run"), "{deleted:?}");
        assert!(deleted.err.contains("config.json"), "{deleted:?}");
        deleted.ok();
        bundle.left_nothing();
    }
}

/// A cgroup above a container's, in one hierarchy, and whatever is made of it in others.
struct Above(String);

impl Above {
    fn everywhere(&self) -> Vec<PathBuf> {
        let tops = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path().join(&self.0));
        tops.filter(|path| path.exists()).collect()
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        self.everywhere().into_iter().for_each(|path| fs::remove_dir(path).unwrap_or_default());
    }
}

#[test]
fn cgroups_above_the_containers_are_their_makers() {
    let bundle = Bundle::new(&["true"]);
    let above = Above(format!("{}-above", bundle.id));
    let administrators = PathBuf::from("/sys/fs/cgroup/pids").join(&above.0);
    fs::create_dir(&administrators).unwrap();
    let path = json!(format!("/{}/{}", above.0, bundle.id));
    let bundle = bundle.set("/linux/cgroupsPath", path);
    // Whoever made those in the other hierarchies removes them.
    bundle.run().ok();
    assert_eq!(above.everywhere(), [&*administrators]);
    bundle.oci(&["create", &bundle.id]).ok();
    let made = above.everywhere();
    assert!(made.len() > 1 && made.contains(&administrators), "{made:?}");
    // `delete` does not know who that was.
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(above.everywhere(), made);
    assert!(made.iter().all(|path| !path.join(&bundle.id).exists()));
}

#[test]
fn exit_codes_are_the_commands() {
    assert_eq!(Bundle::script("exit 7").run().code, Some(7));
    assert_eq!(Bundle::script("kill -15 $$; sleep 1; exit 9").set("/process/args/-", json!("x")).run().code, Some(9));
}

#[test]
fn commands_that_cannot_be_executed_are_explained() {
    let file = |bytes: &[u8], mode: u32| {
        let bundle = Bundle::new(&["/bin/command"]);
        fs::write(bundle.rootfs("bin/command"), bytes).unwrap();
        fs::set_permissions(bundle.rootfs("bin/command"), fs::Permissions::from_mode(mode)).unwrap();
        bundle
    };
    let mut foreign = fs::read("/bin/busybox").unwrap();
    // e_machine (elf(5)): an architecture that no machine of ours is.
    foreign[18..20].copy_from_slice(&22_u16.to_le_bytes());
    let cases = [
        (Bundle::new(&["no-such-command"]), 127, "executable file not found in $PATH"),
        (Bundle::new(&["/no/such"]), 127, "no such file or directory"),
        (Bundle::new(&["/tmp"]), 126, "is a directory"),
        (file(b"x", 0o644), 126, "permission denied"),
        (file(&foreign, 0o755), 126, "made for s390x"),
        (file(b"no program", 0o755), 126, "neither a program nor a script"),
        (file(b"#!/no/interpreter\n", 0o755), 127, "no/interpreter\": no such file"),
        (file(b"#!/bin/sh\r\n", 0o755), 126, "carriage return"),
    ];
    for (bundle, code, text) in cases {
        bundle.run().fails(code, text);
        bundle.left_nothing();
    }
}

#[test]
fn what_goes_wrong_after_start_is_told_by_start() {
    let bundle = Bundle::new(&["/bin/command"]);
    fs::write(bundle.rootfs("bin/command"), "#!/no/interpreter\n").unwrap();
    fs::set_permissions(bundle.rootfs("bin/command"), fs::Permissions::from_mode(0o755)).unwrap();
    bundle.oci(&["create", &bundle.id]).ok();
    bundle.oci(&["start", &bundle.id]).fails(127, "/no/interpreter");
    assert_eq!(bundle.state()["status"], "stopped");
    bundle.oci(&["delete", &bundle.id]).ok();
    bundle.left_nothing();
}

#[test]
fn starting_what_was_killed_while_it_waited_does_not_hang() {
    let bundle = Bundle::new(&["true"]);
    bundle.oci(&["create", &bundle.id]).ok();
    bundle.oci(&["kill", &bundle.id, "9"]).ok();
    while bundle.state()["status"] != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.oci(&["start", &bundle.id]).fails(1, "stopped");
}

#[test]
fn what_is_not_supported_is_refused_before_anything_is_made() {
    let bundle = Bundle::new(&["true"]).set("/linux/intelRdt", json!({ "closID": "x" }));
    bundle.run().fails(1, "linux.intelRdt");
    bundle.left_nothing();
    bundle.oci(&["run", "--no-such-flag", "x"]).fails(1, "--no-such-flag");
    bundle.oci(&["frobnicate"]).fails(1, "frobnicate");
    bundle.oci(&["run", "../x"]).fails(1, "not a container id");
}

#[test]
fn a_host_that_cannot_pivot_changes_the_root_instead() {
    let bundle = Bundle::new(&["ls", "/"]);
    let out = bundle.oci(&["run", "--no-pivot", &bundle.id]).ok();
    assert_eq!(out, "bin\ndev\netc\nproc\nsys\ntmp\n");
    bundle.left_nothing();
}

#[test]
fn a_pid_file_that_cannot_be_written_keeps_the_command_from_running() {
    let bundle = Bundle::new(&["echo", "ran"]);
    for path in ["missing/pid", "config.json/pid"] {
        let ran = bundle.oci(&["run", "--pid-file", path, &bundle.id]).fails(1, &format!("write {path}"));
        assert_eq!(ran.out, "", "{path}");
        bundle.left_nothing();
    }
}

/// While a mount namespace has a whole procfs, the kernel lets a user namespace in it mount another, unmasked.
#[test]
fn without_a_pivot_the_hosts_interfaces_are_out_of_reach_all_the_same() {
    let script = "unshare -Urmpf sh -c 'mount -t proc proc /tmp && echo 0 > /tmp/sys/vm/swappiness && echo written' ; \
                  unshare -Urmn sh -c 'mount -t sysfs sysfs /tmp && echo mounted'; \
                  grep -cE ' - (proc|sysfs) ' /proc/self/mountinfo; cat /proc/version | wc -l";
    for flags in [&["run"][..], &["run", "--no-pivot"]] {
        let bundle = Bundle::script(script).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let masked = bundle.config["linux"]["maskedPaths"].as_array().unwrap().len();
        assert!(masked > 0, "nothing would be hidden");
        let ran = bundle.oci(&[flags, &[&bundle.id]].concat());
        assert_eq!(ran.err.matches("ermission denied").count(), 2, "{flags:?}: {ran:?}");
        // The container's own, with their masks and read-only parts.
        let lines: Vec<String> = ran.ok().lines().map(str::to_owned).collect();
        assert_eq!((lines.len(), lines[1].as_str()), (2, "1"), "{flags:?}: {lines:?}");
        bundle.left_nothing();
    }
}

#[test]
fn a_memory_limit_too_low_to_start_anything_is_said() {
    let bundle = Bundle::new(&["true"]).set("/linux/resources/memory", json!({ "limit": 4096 }));
    bundle.run().fails(1, "before it executed its command");
    bundle.left_nothing();
}

#[test]
fn errors_are_logged_as_runc_does() {
    let bundle = Bundle::new(&["no-such-command"]);
    let ran = bundle.oci(&["--log", "log.json", "--log-format", "json", "run", &bundle.id]);
    assert_eq!(ran.code, Some(127));
    let line: Value = serde_json::from_str(fs::read_to_string(bundle.path().join("log.json")).unwrap().trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("no-such-command"));
}

#[test]
fn features_are_those_of_the_specification() {
    let text = Bundle::new(&["true"]).oci(&["features"]).ok();
    let features: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(features["hooks"].as_array().unwrap().len(), 6);
    // What it says of mounts is true.
    for option in features["mountOptions"].as_array().unwrap() {
        let option = option.as_str().unwrap();
        let mount = |options: &[&str]| match option {
            // Something must be there already.
            "remount" => json!({ "destination": "/dev/shm", "options": options }),
            "idmap" | "ridmap" => {
                let maps = json!([{ "containerID": 0, "hostID": 0, "size": 1000 }]);
                json!({ "destination": "/tmp", "source": "rootfs/tmp", "options": options,
                    "uidMappings": maps, "gidMappings": maps })
            }
            _ if options[0] == "bind" => json!({ "destination": "/tmp", "source": "rootfs/tmp", "options": options }),
            _ => json!({ "destination": "/tmp", "type": "tmpfs", "source": "rootfs/tmp", "options": options }),
        };
        let both: &[&[&str]] = match option {
            "tmpcopyup" => &[&["tmpcopyup"]],
            "idmap" | "ridmap" => &[&["bind", option]],
            _ => &[&[option], &["bind", option]],
        };
        for options in both {
            Bundle::new(&["true"]).set("/mounts/-", mount(options)).run().ok();
        }
    }
}

#[test]
fn with_a_log_file_the_containers_standard_error_has_errors_only() {
    let bundle = Bundle::script("echo mine >&2").set("/process/capabilities/ambient", json!(["CAP_CHOWN"]));
    let warned = bundle.run();
    assert!(
        warned.err.contains("warning: can't raise ambient capability CAP_CHOWN") && warned.err.contains("mine\n"),
        "{}",
        warned.err
    );
    let logged = bundle.oci(&["--log", "log", "--log-format", "json", "--debug", "run", &bundle.id]);
    assert_eq!(logged.err, "mine\n");
    let log = fs::read_to_string(bundle.path().join("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |level: &str, text: &str| {
        lines.iter().any(|line| line["level"] == level && line["msg"].as_str().unwrap().contains(text))
    };
    assert!(has("warning", "CAP_CHOWN") && has("debug", "mount proc on /proc"), "{log}");
}
