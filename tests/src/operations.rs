// SPDX-License-Identifier: Apache-2.0
//! `corten oci` on a running container: pause, resume, update, events, kill and groups below, on either cgroup version.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::cgroup;

/// A container of its own bundle. Its cgroup has the name of its directory, which is nobody else's.
struct Container {
    directory: tempfile::TempDir,
}

const ID: &str = "one";

impl Container {
    /// Runs a script in the background, under these limits.
    fn start(script: &str, resources: &Value) -> Container {
        Container::start_with(script, |config| config["linux"]["resources"] = resources.clone())
    }

    /// The same, with other changes to the sample configuration.
    fn start_with(script: &str, change: impl FnOnce(&mut Value)) -> Container {
        let directory = tempfile::Builder::new().prefix("corten-operations-").tempdir().expect("a directory");
        let container = Container { directory };
        let root = container.path().join("rootfs");
        for name in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(name)).expect("a directory");
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for name in ["sh", "sleep", "cat", "head", "touch"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("a link");
        }
        container.ok(&["spec"]);
        let path = container.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["root"]["readonly"] = json!(false);
        config["linux"]["cgroupsPath"] = json!(format!("/{}", container.name()));
        change(&mut config);
        fs::write(path, config.to_string()).expect("a file");
        // Its streams must not be ours: nobody would see their end.
        let status = container.command(&["run", "--detach", ID]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.expect("it starts").success(), "the container did not start");
        container
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = testkit::process::command(testkit::corten::binary());
        command.arg("oci").arg("--root").arg(self.path().join("state")).args(arguments);
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it starts")
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], words: &str) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        // Of exec, whose command may well answer 1, a failure of its own is 255.
        let code = if arguments.first() == Some(&"exec") { 255 } else { 1 };
        assert!(output.status.code() == Some(code) && said.contains(words), "{arguments:?}: {output:?}");
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", ID])).expect("JSON")
    }

    fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().expect("a number")
    }

    fn file(&self, path: &str) -> PathBuf {
        self.path().join("rootfs").join(path)
    }

    /// Removes it and sees that its cgroup is gone.
    fn delete(self) {
        self.ok(&["delete", "--force", ID]);
        for root in testkit::leftovers::cgroup_roots() {
            assert!(!root.join(self.name()).exists(), "its cgroup is left in {}", root.display());
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.path().join("state").join(ID).exists() {
            self.run(&["delete", "--force", ID]);
        }
    }
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// It stands still while it is paused, goes on when it is resumed, and can be killed while it is paused.
pub fn a_paused_container_stands_still() {
    let container = Container::start("while :; do echo x >> /tmp/out; done", &json!({}));
    let length = || fs::metadata(container.file("tmp/out")).map_or(0, |metadata| metadata.len());
    wait_until("it writes", || length() > 0);
    container.ok(&["pause", ID]);
    let before = length();
    assert_eq!(container.state()["status"], "paused");
    container.fails(&["exec", ID, "cat", "/dev/null"], "paused");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(length(), before, "it went on while it was paused");
    container.ok(&["resume", ID]);
    wait_until("it goes on", || length() > before);
    container.ok(&["pause", ID]);
    container.ok(&["kill", ID, "KILL"]);
    wait_until("it has ended", || container.state()["status"] == "stopped");
    container.delete();
}

/// Limits reach the kernel; when one of them is refused, none has changed.
pub fn limits_are_changed_together_or_not_at_all() {
    let resources = json!({ "memory": { "limit": 33_554_432 }, "pids": { "limit": 20 },
        "cpu": { "quota": 40_000, "period": 80_000 } });
    let container = Container::start("exec sleep 100", &resources);
    let pid = container.pid();
    let limits = || {
        let memory = cgroup::number(pid, "memory", "memory.limit_in_bytes", "memory.max");
        (memory, cgroup::number(pid, "pids", "pids.max", "pids.max"))
    };
    let (cpu, version) = cgroup::of(pid, "cpu");
    let quota = || match version {
        cgroup::Version::V1 => fs::read_to_string(cpu.join("cpu.cfs_quota_us")).expect("a file"),
        cgroup::Version::V2 => fs::read_to_string(cpu.join("cpu.max")).expect("a file"),
    };
    assert_eq!(limits(), (Some(33_554_432), Some(20)));
    container.ok(&["update", "--memory", "64m", "--pids-limit", "30", "--cpu-quota", "30000", ID]);
    assert_eq!(limits(), (Some(67_108_864), Some(30)));
    assert!(["30000\n", "30000 80000\n"].contains(&quota().as_str()), "{}", quota());
    container.fails(&["update", "--memory", "48m", "--pids-limit", "7", "--cpu-period", "1", ID], "Invalid argument");
    container.fails(&["update", "--memory", "48m", "--cpuset-cpus", "4095", ID], "cpuset.cpus");
    assert_eq!(limits(), (Some(67_108_864), Some(30)));
    assert!(["30000\n", "30000 80000\n"].contains(&quota().as_str()), "{}", quota());
    container.ok(&["update", "--memory", "-1", "--pids-limit", "-1", ID]);
    assert_eq!(cgroup::number(pid, "pids", "pids.max", "pids.max"), None);
    container.delete();
}

/// Counters come at intervals, want of memory is told, and the stream ends with the container.
pub fn events_tell_of_want_of_memory_and_end_with_the_container() {
    let script = "while [ ! -e /tmp/go ]; do sleep 0.05; done; head -c 60000000 /dev/zero > /dev/shm/x; exit 0";
    let container = Container::start(script, &json!({ "memory": { "limit": 16_777_216, "swap": 16_777_216 } }));
    let once: Value = serde_json::from_str(&container.ok(&["events", "--stats", ID])).expect("JSON");
    assert_eq!(once["data"]["memory"]["usage"]["limit"], 16_777_216, "{once}");
    assert!(once["data"]["pids"]["current"].as_u64() >= Some(1), "{once}");
    assert!(once["data"]["cpu"]["usage"]["total"].as_u64() > Some(0), "{once}");
    let follow = container.command(&["events", "--interval", "100ms", ID]).stdout(Stdio::piped()).spawn();
    let mut follow = follow.expect("it starts");
    let (mut told, mut lines) = (BufReader::new(follow.stdout.take().expect("a pipe")), String::new());
    // Before its first counters it has asked the kernel to be told of what follows.
    told.read_line(&mut lines).expect("counters");
    fs::write(container.file("tmp/go"), "").expect("a file");
    told.read_to_string(&mut lines).expect("text");
    assert!(follow.wait().expect("it ends").success(), "{lines}");
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(events.iter().any(|event| event["type"] == "stats"), "{lines}");
    assert!(events.contains(&json!({ "type": "oom", "id": ID })), "nothing was said of the want of memory:\n{lines}");
    container.delete();
}

/// A process can be started in a group that the container made below its own.
pub fn a_process_is_executed_in_a_group_below() {
    let container = Container::start("exec sleep 100", &json!({}));
    let pid = container.pid();
    container.fails(&["exec", "--cgroup", "/below", ID, "cat", "/proc/self/cgroup"], "below");
    let (pids, version) = cgroup::of(pid, "pids");
    fs::create_dir(pids.join("below")).expect("a group");
    // On v1 the other hierarchies have no such group.
    let argument = if version == cgroup::Version::V1 { "pids:below" } else { "below" };
    let seen = container.ok(&["exec", "--cgroup", argument, ID, "cat", "/proc/self/cgroup"]);
    assert!(seen.lines().any(|line| line.ends_with("/below")), "{seen}");
    container.fails(&["exec", "--cgroup", "../elsewhere", ID, "cat", "/proc/self/cgroup"], "elsewhere");
    container.delete();
}

/// A user who sees its own cgroups and may write to them owns its group on v2, and not the limits in it; on v1, where that
/// would not be safe, it does not.
pub fn a_containers_user_owns_its_cgroup_where_that_is_safe() {
    let container = Container::start_with("exec sleep 100", |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        mounts.push(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev"] }));
    });
    let (group, version) = cgroup::of(container.pid(), "pids");
    let owner = |file: &str| std::os::unix::fs::MetadataExt::uid(&fs::metadata(group.join(file)).expect("a file"));
    let delegated = if version == cgroup::Version::V2 { 1000 } else { 0 };
    assert_eq!((owner(""), owner("cgroup.procs"), owner("pids.max")), (delegated, delegated, 0));
    let made = container.run(&["exec", ID, "sh", "-c", "/bin/busybox mkdir /sys/fs/cgroup/mine"]);
    if version == cgroup::Version::V2 {
        assert!(made.status.success() && group.join("mine").exists(), "{made:?}");
    }
    container.delete();
}
