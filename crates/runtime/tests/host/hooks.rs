// SPDX-License-Identifier: Apache-2.0
//! Hooks: when they run, where, with what, and what becomes of the container when one fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::Bundle;

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Where the hooks write what they saw, each below its own name; inside, it is /log.
fn with_log(bundle: Bundle) -> Bundle {
    let log = bundle.path().join("log");
    fs::create_dir(&log).unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o777)).unwrap();
    bundle.set("/mounts/-", json!({ "destination": "/log", "source": log, "options": ["bind"] }))
}

/// A hook that is a script of the host, or for `startContainer` of the container.
fn hook(bundle: &Bundle, kind: &str, script: &str) -> Value {
    let log = if kind == "startContainer" { "/log".into() } else { bundle.path().join("log") };
    let script = format!("cd {}; {script}", log.display());
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", format!("KIND={kind}")] })
}

fn with_hooks(bundle: Bundle, kinds: &[&str], script: &str) -> Bundle {
    let hooks: serde_json::Map<String, Value> =
        kinds.iter().map(|kind| ((*kind).to_owned(), json!([hook(&bundle, kind, script)]))).collect();
    bundle.set("/hooks", Value::Object(hooks))
}

fn read(bundle: &Bundle, name: &str) -> String {
    fs::read_to_string(bundle.path().join("log").join(name)).unwrap_or_default()
}

#[test]
fn all_six_kinds_run_in_their_order_with_the_state_on_their_standard_input() {
    let bundle = with_log(Bundle::script("echo command >> /log/order"));
    let script = "echo $KIND >> order; cat > $KIND; env | sort > $KIND.env; readlink /proc/self/ns/mnt > $KIND.ns";
    let bundle = with_hooks(bundle, &KINDS, script).set("/annotations", json!({ "a": "b" }));
    bundle.oci(&["create", &bundle.id]).ok();
    assert_eq!(read(&bundle, "order"), "prestart\ncreateRuntime\ncreateContainer\n");
    let pid = bundle.state()["pid"].clone();
    bundle.oci(&["start", &bundle.id]).ok();
    let deadline = Instant::now() + Duration::from_secs(10);
    while bundle.state()["status"] != "stopped" {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    bundle.oci(&["delete", &bundle.id]).ok();
    bundle.left_nothing();
    // The command and what follows its execution run side by side.
    let order = read(&bundle, "order");
    let mut lines: Vec<&str> = order.lines().collect();
    lines.retain(|line| *line != "command");
    assert_eq!(lines, KINDS);
    for (kind, status, expected) in [
        ("prestart", "creating", pid.clone()),
        ("createRuntime", "creating", pid.clone()),
        ("createContainer", "creating", json!(1)),
        ("startContainer", "created", json!(1)),
        ("poststart", "running", pid),
        ("poststop", "stopped", Value::Null),
    ] {
        let state: Value = serde_json::from_str(&read(&bundle, kind)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!((&state["status"], &state["pid"]), (&json!(status), &expected), "{kind}");
        assert_eq!((&state["id"], &state["annotations"]), (&json!(bundle.id), &json!({ "a": "b" })), "{kind}");
        assert_eq!(state["bundle"], json!(bundle.path()), "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        let environment = read(&bundle, &format!("{kind}.env"));
        assert!(environment.contains(&format!("KIND={kind}\n")) && !environment.contains("CARGO"), "{environment}");
        let ours = fs::read_link("/proc/self/ns/mnt").unwrap();
        let its = read(&bundle, &format!("{kind}.ns"));
        // Without procfs where it looks, a hook inside sees none.
        let outside = !matches!(kind, "createContainer" | "startContainer");
        assert_eq!(its.trim() == ours.to_string_lossy(), outside, "{kind}: {its}");
    }
}

#[test]
fn hooks_of_one_kind_run_one_after_the_other_and_outside_everything_is_mounted_already() {
    let bundle = with_log(Bundle::script("cat /log/order; cat /made/by/hook"));
    let first = hook(&bundle, "createRuntime", "sleep 0.2; echo first >> order");
    // As hooks do that mount devices: into the mount namespace, where the bundle has the root.
    let script = "echo second >> order; pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/');
        nsenter --mount --target $pid sh -c 'mkdir -p ROOT/made/by && echo by hook > ROOT/made/by/hook &&
            grep -q \" ROOT/proc \" /proc/$0/mountinfo' $pid";
    let script = script.replace("ROOT", bundle.rootfs("").to_string_lossy().trim_end_matches('/'));
    let second = hook(&bundle, "createRuntime", &script);
    let bundle = bundle.set("/hooks", json!({ "createRuntime": [first, second] }));
    assert_eq!(bundle.run().ok(), "first\nsecond\nby hook\n");
    bundle.left_nothing();
}

#[test]
fn a_hook_that_fails_or_takes_too_long_ends_the_creation_and_is_named() {
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let bundle = with_log(Bundle::new(&["sleep", "100"]));
        let failing = hook(&bundle, kind, "echo did not work >&2; exit 3");
        let after = hook(&bundle, "poststop", "cat > poststop");
        let bundle = bundle.set("/hooks", json!({ kind: [failing], "poststop": [after] }));
        let ran = bundle.run().fails(1, &format!("error running {kind} hook #0: "));
        for text in ["/bin/sh", "exit code 3", "did not work"] {
            assert!(ran.err.contains(text), "{kind}: {ran:?}");
        }
        bundle.left_nothing();
        assert!(read(&bundle, "poststop").contains("stopped"), "{kind}");

        let bundle = with_log(Bundle::new(&["sleep", "100"]));
        let mut slow = hook(&bundle, kind, "echo $$ > pid; sleep 60 & echo waiting; wait");
        slow["timeout"] = json!(1);
        let bundle = bundle.set("/hooks", json!({ kind: [slow] }));
        let before = Instant::now();
        bundle.run().fails(1, "within 1 s").fails(1, "waiting");
        assert!(before.elapsed() < Duration::from_secs(20), "{kind}");
        bundle.left_nothing();
    }
}

#[test]
fn a_program_that_cannot_be_run_is_named() {
    let bundle = Bundle::new(&["true"]).set("/hooks", json!({ "createRuntime": [{ "path": "/no/such/hook" }] }));
    bundle.run().fails(1, "error running createRuntime hook #0: ").fails(1, "/no/such/hook").fails(1, "ENOENT");
    bundle.left_nothing();
}

#[test]
fn a_failing_poststop_hook_is_a_warning_and_the_others_run() {
    let bundle = with_log(Bundle::new(&["true"]));
    let failing = hook(&bundle, "poststop", "exit 1");
    let other = hook(&bundle, "poststop", "touch other");
    let bundle = bundle.set("/hooks", json!({ "poststop": [failing, other] }));
    let ran = bundle.run();
    assert!(ran.err.contains("warning: error running poststop hook #0: "), "{ran:?}");
    ran.ok();
    assert!(bundle.path().join("log/other").exists());
    bundle.left_nothing();
}

/// Nothing of ours, and nothing of the container's, is inherited.
#[test]
fn hooks_inherit_no_descriptor() {
    let bundle = with_log(Bundle::new(&["true"]));
    let bundle = with_hooks(bundle, &KINDS, "ls /proc/self/fd > $KIND.fds");
    bundle.run().ok();
    for kind in KINDS {
        let fds = read(&bundle, &format!("{kind}.fds"));
        let numbers: Vec<u32> = fds.lines().filter_map(|line| line.parse().ok()).collect();
        // 3 is the directory that ls itself lists.
        assert!(!numbers.is_empty() && numbers.iter().all(|number| *number < 4), "{kind}: {fds}");
    }
}

#[test]
fn hooks_without_an_environment_have_whoever_runs_them() {
    let bundle = with_log(Bundle::new(&["true"]).set("/process/env", json!(["PATH=/bin", "OF=container"])));
    let of = |kind: &str| {
        let mut hook = hook(&bundle, kind, &format!("export PATH=/bin:/usr/bin; env > {kind}.env"));
        hook.as_object_mut().unwrap().remove("env");
        json!([hook])
    };
    let kinds = ["createRuntime", "createContainer", "startContainer"];
    let hooks: serde_json::Map<String, Value> = kinds.iter().map(|kind| ((*kind).to_owned(), of(kind))).collect();
    let bundle = bundle.set("/hooks", Value::Object(hooks));
    let mut command = bundle.command(&["run", &bundle.id]);
    command.env("OF", "launcher");
    bundle.finish(command).ok();
    assert!(read(&bundle, "createRuntime.env").contains("OF=launcher"));
    assert!(!read(&bundle, "createContainer.env").contains("OF="));
    assert!(read(&bundle, "startContainer.env").contains("OF=container"));
}

/// It is a program of the image's: with rights of the container's and no filter it could do what the command may not.
#[test]
fn a_hook_of_the_containers_side_is_filtered_as_the_command_is() {
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }] });
    for (no_new_privileges, filtered) in [(true, true), (false, true), (false, false)] {
        let script = "grep ^Seccomp: /proc/self/status > $KIND; mkdir made-by-$KIND; true";
        let bundle = with_log(Bundle::new(&["true"]));
        let bundle = with_hooks(bundle, &["startContainer", "createContainer"], script)
            .set("/process/noNewPrivileges", json!(no_new_privileges))
            .set("/linux/seccomp", if filtered { filter.clone() } else { Value::Null });
        bundle.run().ok();
        let expected = if filtered { "Seccomp:\t2\n" } else { "Seccomp:\t0\n" };
        assert_eq!(read(&bundle, "startContainer"), expected, "{no_new_privileges}");
        assert_eq!(bundle.path().join("log/made-by-startContainer").exists(), !filtered);
        assert!(bundle.path().join("log/made-by-createContainer").exists(), "that one is the host's");
    }
}
