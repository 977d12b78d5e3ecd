// SPDX-License-Identifier: Apache-2.0
//! `corten oci`, beside runc: the same bundles, the same answers.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use testkit::sandbox::Sandbox;

/// A bundle of runc's own default configuration, with busybox as its root and this command.
fn bundle(directory: &Path, command: &[&str], cgroup: &str) {
    let root = directory.join("rootfs");
    fs::create_dir_all(&root).expect("a directory");
    let tar = testkit::fixtures::busybox::bytes();
    let tar_path = directory.join("busybox.tar");
    fs::write(&tar_path, tar).expect("a file");
    let unpacked = testkit::process::command("tar").arg("-xf").arg(&tar_path).arg("-C").arg(&root).status();
    assert!(unpacked.expect("tar").success());
    let spec =
        testkit::process::command("runc").arg("spec").current_dir(directory).status().expect("runc is installed");
    assert!(spec.success());
    let path = directory.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("it was just written")).expect("JSON");
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = command.iter().copied().collect();
    // This machine may not raise its limits; the runtime must not have to.
    config["process"]["rlimits"] = serde_json::json!([]);
    config["linux"]["cgroupsPath"] = cgroup.into();
    fs::write(path, config.to_string()).expect("a file");
}

struct Runtime {
    sandbox: Sandbox,
    directory: tempfile::TempDir,
    cgroup: String,
}

impl Runtime {
    fn new(command: &[&str]) -> Runtime {
        let directory = tempfile::Builder::new().prefix("corten-test-").tempdir().expect("a directory");
        // The directory's name is nobody else's, and so is a cgroup's of that name.
        let cgroup = format!("/{}", directory.path().file_name().unwrap_or_default().to_string_lossy());
        bundle(directory.path(), command, &cgroup);
        Runtime { sandbox: Sandbox::new(), directory, cgroup }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let (bundle, state) = (self.directory.path().to_owned(), self.directory.path().join("state"));
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        self.sandbox.run(move || {
            testkit::process::command(testkit::corten::binary())
                .arg("oci")
                .arg("--root")
                .arg(state)
                .args(arguments)
                .current_dir(bundle)
                .stdin(std::process::Stdio::null())
                .output()
                .expect("it starts")
        })
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn run_has_the_commands_output_and_exit_code() {
    let runtime = Runtime::new(&["sh", "-c", "echo $$; exit 11"]);
    let output = runtime.run(&["run", "one"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(11), &b"1\n"[..]), "{output:?}");
    for root in testkit::leftovers::cgroup_roots() {
        assert!(
            !root.join(runtime.cgroup.trim_start_matches('/')).exists(),
            "its cgroup is left in {}",
            root.display()
        );
    }
}

#[test]
fn a_container_goes_through_the_states_of_the_specification() {
    let runtime = Runtime::new(&["sleep", "60"]);
    let state = || -> Value { serde_json::from_str(&runtime.ok(&["state", "two"])).expect("JSON") };
    // `create` hands its output to the container: nobody may wait for the end of a pipe here.
    let (binary, root, bundle) =
        (testkit::corten::binary(), runtime.directory.path().join("state"), runtime.directory.path().to_owned());
    let created = runtime.sandbox.run(move || {
        let null = || std::process::Stdio::null();
        let mut command = testkit::process::command(binary);
        command.arg("oci").arg("--root").arg(root).args(["create", "two"]).current_dir(bundle);
        command.stdin(null()).stdout(null()).stderr(null()).status().expect("it starts")
    });
    assert!(created.success());
    assert_eq!(state()["status"], "created");
    assert_eq!(state()["ociVersion"].as_str().map(|version| version.starts_with("1.")), Some(true));
    runtime.ok(&["start", "two"]);
    assert_eq!(state()["status"], "running");
    assert!(!runtime.run(&["delete", "two"]).status.success(), "a running container was deleted");
    runtime.ok(&["kill", "two", "KILL"]);
    for _ in 0..100 {
        if state()["status"] == "stopped" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(state()["status"], "stopped");
    runtime.ok(&["delete", "two"]);
    assert!(!runtime.run(&["state", "two"]).status.success(), "it is still known");
}

#[test]
fn runc_and_corten_show_a_container_the_same_world() {
    let script = "id; hostname; cat /proc/self/status | grep -E '^(Cap|NoNewPrivs)'; mount | cut -d' ' -f3 | sort; ls /dev | sort";
    let runtime = Runtime::new(&["sh", "-c", script]);
    let ours = runtime.ok(&["run", "same"]);
    let (bundle, root) = (runtime.directory.path().to_owned(), runtime.directory.path().join("runc"));
    let theirs = runtime.sandbox.run(move || {
        let mut command = testkit::process::command("runc");
        command.arg("--root").arg(root).args(["run", "same"]).current_dir(bundle).stdin(std::process::Stdio::null());
        command.output().expect("runc is installed")
    });
    assert!(theirs.status.success(), "{theirs:?}");
    let theirs = String::from_utf8_lossy(&theirs.stdout).into_owned();
    // On a hybrid host runc leaves the unified hierarchy out of the container's view; nothing depends on it.
    let seen = |text: &str| -> Vec<String> {
        text.lines().filter(|line| *line != "/sys/fs/cgroup/unified").map(str::to_owned).collect()
    };
    assert_eq!(seen(&ours), seen(&theirs));
}
