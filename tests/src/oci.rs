// SPDX-License-Identifier: Apache-2.0
//! `corten oci` as the host's root and as a user without rights, where control groups are v2 only. The host lane has the
//! same for its own control groups (crates/runtime/tests/host).

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::process;

/// The user without rights, who has ids of others in `/etc/subuid` and `/etc/subgid`.
const USER: u32 = 1000;
/// The first of those ids, and how many there are.
const OTHERS: (u32, u32) = (100_000, 65_536);

const CGROUPS: &str = "/sys/fs/cgroup";

/// A bundle with busybox that belongs to whoever runs it.
struct Bundle {
    dir: PathBuf,
    config: Value,
    owner: u32,
}

impl Bundle {
    fn new(name: &str, owner: u32, script: &str) -> Bundle {
        let dir = PathBuf::from("/tmp").join(name);
        for below in ["rootfs/bin", "rootfs/proc", "rootfs/sys", "rootfs/dev", "rootfs/tmp", "runtime"] {
            fs::create_dir_all(dir.join(below)).expect("a directory");
        }
        fs::copy("/bin/busybox", dir.join("rootfs/bin/busybox")).expect("busybox is there");
        for applet in ["sh", "cat", "id", "sleep", "readlink", "mkdir", "grep"] {
            symlink("busybox", dir.join("rootfs/bin").join(applet)).expect("a link");
        }
        let mut bundle = Bundle { dir, config: Value::Null, owner };
        bundle.give_away("");
        let flag: &[&str] = if owner == 0 { &[] } else { &["--rootless"] };
        bundle.ok(&[&["spec"], flag].concat());
        let text = fs::read(bundle.dir.join("config.json")).expect("a configuration");
        bundle.config = serde_json::from_slice(&text).expect("JSON");
        bundle.config["process"]["terminal"] = json!(false);
        bundle.config["process"]["args"] = json!(["sh", "-c", script]);
        bundle
    }

    /// Everything below belongs to the owner, the first time; what is made later by the check itself as well.
    fn give_away(&self, below: &str) {
        let owner = format!("{0}:{0}", self.owner);
        let status = process::command("chown").args(["-hR", &owner]).arg(self.dir.join(below)).status();
        assert!(status.expect("chown").success());
    }

    /// The ids of a user namespace: the user itself as root, and the ids of others from 1 on.
    fn map_others(&mut self) {
        let own = if self.owner == 0 { OTHERS.0 + OTHERS.1 } else { self.owner };
        let ids = json!([
            { "containerID": 0, "hostID": own, "size": 1 },
            { "containerID": 1, "hostID": OTHERS.0, "size": OTHERS.1 },
        ]);
        self.config["linux"]["uidMappings"] = ids.clone();
        self.config["linux"]["gidMappings"] = ids;
    }

    fn add_namespace(&mut self, namespace: Value) {
        let list = self.config["linux"]["namespaces"].as_array_mut().expect("a list");
        list.retain(|known| known["type"] != namespace["type"]);
        list.push(namespace);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = process::command(testkit::corten::binary());
        command.arg("oci").args(arguments).current_dir(&self.dir).env("XDG_RUNTIME_DIR", self.dir.join("runtime"));
        command.uid(self.owner).gid(self.owner).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        finish(&self.dir, self.command(arguments))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn write(&self) {
        fs::write(self.dir.join("config.json"), self.config.to_string()).expect("the configuration is written");
    }

    /// Runs the container to its end.
    fn say(&self, id: &str) -> String {
        self.write();
        self.ok(&["run", id])
    }

    fn remove(self) {
        fs::remove_dir_all(&self.dir).expect("the bundle is removed");
    }
}

/// Runs a command to its end.
fn finish(dir: &Path, mut command: Command) -> Output {
    let files = Files::new(dir);
    let status = files.take(&mut command).status().expect("it starts");
    files.read(status)
}

/// Where a command's output goes: a container left running would keep a pipe open, and writes on into a file of its own.
struct Files([PathBuf; 2]);

impl Files {
    fn new(dir: &Path) -> Files {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Files(["out", "err"].map(|name| dir.join(format!("{name}.{number}"))))
    }

    fn take<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let [out, err] = self.0.each_ref().map(|path| fs::File::create(path).expect("a file"));
        command.stdout(out).stderr(err)
    }

    fn read(self, status: ExitStatus) -> Output {
        let [stdout, stderr] = self.0.map(|path| fs::read(path).expect("output"));
        Output { status, stdout, stderr }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A user without `newuidmap` and without a cgroup: root inside is the user; a warning tells of the cgroup; a limit is
/// refused by name.
pub fn a_user_without_anything_runs_a_container() {
    let mut bundle = Bundle::new("alone", USER, "id; cat /proc/self/uid_map /proc/self/setgroups");
    bundle.write();
    let output = bundle.run(&["run", "alone"]);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words, ["uid=0", "gid=0", "0", "1000", "1", "deny"], "{output:?}");
    assert!(said(&output).contains("warning: without a cgroup of its own"), "{output:?}");
    bundle.config["linux"]["resources"] = json!({ "pids": { "limit": 5 } });
    bundle.write();
    let refused = bundle.run(&["run", "alone"]);
    assert!(!refused.status.success() && said(&refused).contains("linux.resources.pids"), "{refused:?}");
    bundle.config["linux"]["resources"] = Value::Null;
    bundle.map_others();
    bundle.write();
    let mut without = bundle.command(&["run", "alone"]);
    without.env("PATH", "/nowhere");
    let refused = finish(&bundle.dir, without);
    assert!(!refused.status.success() && said(&refused).contains("install the package uidmap"), "{refused:?}");
    assert_eq!(bundle.ok(&["list", "--quiet"]), "");
    bundle.remove();
}

/// A user with `newuidmap` and `newgidmap`: a user of the container's own with groups; `exec` as another; all commands.
pub fn a_user_with_ids_of_others_runs_a_container() {
    let mut bundle = Bundle::new("others", USER, "id; cat /proc/self/setgroups; sleep 100");
    bundle.map_others();
    bundle.config["process"]["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": [9] });
    bundle.write();
    bundle.ok(&["create", "others"]);
    bundle.ok(&["start", "others"]);
    let state: Value = serde_json::from_str(&bundle.ok(&["state", "others"])).expect("JSON");
    assert_eq!(state["status"], "running");
    let status = fs::read_to_string(format!("/proc/{}/status", state["pid"])).expect("it lives");
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a line");
    assert_eq!(uids.split_whitespace().next(), Some(&*(OTHERS.0 + 6).to_string()), "{status}");
    // Its other groups stay, as with runc.
    assert_eq!(bundle.ok(&["exec", "--user", "3:4", "others", "id"]), "uid=3 gid=4 groups=9\n");
    assert_eq!(bundle.ok(&["exec", "others", "readlink", "/proc/self/ns/pid"]).trim_end(), {
        let link = fs::read_link(format!("/proc/{}/ns/pid", state["pid"])).expect("it lives");
        link.to_string_lossy().into_owned()
    });
    bundle.ok(&["kill", "others", "KILL"]);
    let begun = Instant::now();
    while !bundle.ok(&["state", "others"]).contains("stopped") {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not stop");
        std::thread::sleep(Duration::from_millis(50));
    }
    bundle.ok(&["delete", "others"]);
    bundle.remove();
}

/// Ids among which the user's own is not: the root file system, in a directory that only the user can enter, is still
/// found, and so is what is bound.
pub fn a_user_who_is_nobody_inside_still_provides_the_files() {
    let mut bundle = Bundle::new("nobody", USER, "id; cat /bound");
    let ids = json!([{ "containerID": 0, "hostID": OTHERS.0, "size": OTHERS.1 }]);
    bundle.config["linux"]["uidMappings"] = ids.clone();
    bundle.config["linux"]["gidMappings"] = ids;
    let mount = json!({ "destination": "/bound", "source": "bound", "options": ["bind", "ro"] });
    bundle.config["mounts"].as_array_mut().expect("a list").push(mount);
    fs::write(bundle.dir.join("bound"), "found\n").expect("a file");
    fs::write(bundle.dir.join("rootfs/bound"), "").expect("a file");
    fs::set_permissions(&bundle.dir, fs::Permissions::from_mode(0o700)).expect("a mode");
    assert_eq!(bundle.say("nobody"), "uid=0 gid=0\nfound\n");
    bundle.remove();
}

/// A subtree handed over to the user: the container is in it, with the limits that were asked for, and leaves nothing.
pub fn a_user_with_a_cgroup_limits_a_container() {
    let user = PathBuf::from(CGROUPS).join("user");
    let session = user.join("session");
    fs::create_dir_all(&session).expect("a cgroup");
    fs::write(Path::new(CGROUPS).join("cgroup.subtree_control"), "+memory +pids").expect("controllers");
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        chown(user.join(file), Some(USER), Some(USER)).expect("it is handed over");
    }
    chown(session.join("cgroup.procs"), Some(USER), Some(USER)).expect("it is handed over");
    let mut bundle = Bundle::new("limited", USER, "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max; sleep 100");
    bundle.config["linux"]["resources"] = json!({ "pids": { "limit": 9 }, "memory": { "limit": 67_108_864 } });
    bundle.write();
    let shown = in_cgroup(&session, &bundle, &["run", "--dry-run", "limited"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.lines().any(|line| line == "make cgroup /sys/fs/cgroup/user/corten/limited"), "{shown}");
    let output = in_cgroup(&session, &bundle, &["run", "--detach", "limited"]);
    assert!(output.status.success() && said(&output).is_empty(), "{output:?}");
    let state: Value = serde_json::from_str(&bundle.ok(&["state", "limited"])).expect("JSON");
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).expect("it lives");
    assert_eq!(cgroup, "0::/user/corten/limited\n");
    let inside =
        in_cgroup(&session, &bundle, &["exec", "limited", "cat", "/proc/self/cgroup", "/sys/fs/cgroup/pids.max"]);
    assert_eq!(String::from_utf8_lossy(&inside.stdout), "0::/\n9\n", "{inside:?}");
    let deleted = in_cgroup(&session, &bundle, &["delete", "--force", "limited"]);
    assert!(deleted.status.success(), "{deleted:?}");
    assert!(!user.join("corten").exists(), "the cgroup is left");
    bundle.remove();
    for directory in [session, user] {
        fs::remove_dir(directory).expect("the cgroup is removed");
    }
}

/// Runs a command as a process of a cgroup: it waits until it was moved there.
fn in_cgroup(cgroup: &Path, bundle: &Bundle, arguments: &[&str]) -> Output {
    let mut waiting = process::command("/bin/busybox");
    waiting
        .args(["sh", "-c", "read go && exec \"$@\"", "sh"])
        .arg(testkit::corten::binary())
        .arg("oci")
        .args(arguments);
    waiting.current_dir(&bundle.dir).env("XDG_RUNTIME_DIR", bundle.dir.join("runtime"));
    waiting.uid(USER).gid(USER).stdin(Stdio::piped());
    let files = Files::new(&bundle.dir);
    let mut child = files.take(&mut waiting).spawn().expect("it starts");
    fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).expect("it is moved");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(b"go\n").expect("it waits");
    drop(input);
    files.read(child.wait().expect("it ends"))
}

/// As root: a user namespace of its own with a cgroup and limits; a second container in its namespaces, through a stage.
pub fn roots_container_has_a_user_namespace_and_another_joins_it() {
    let mut first = Bundle::new("first", 0, "cat /sys/fs/cgroup/pids.max; sleep 100");
    first.add_namespace(json!({ "type": "user" }));
    first.map_others();
    first.config["linux"]["resources"]["pids"] = json!({ "limit": 8 });
    let status = process::command("chown").args(["-hR", &(OTHERS.0 + OTHERS.1).to_string()]).arg(&first.dir).status();
    assert!(status.expect("chown").success());
    first.write();
    first.ok(&["run", "--detach", "first"]);
    let state: Value = serde_json::from_str(&first.ok(&["state", "first"])).expect("JSON");
    let link = |kind: &str| fs::read_link(format!("/proc/{}/ns/{kind}", state["pid"])).expect("it lives");
    let inside = first.ok(&["exec", "first", "cat", "/proc/self/cgroup", "/sys/fs/cgroup/pids.max"]);
    assert_eq!(inside, "0::/\n8\n");
    let mut second = Bundle::new(
        "second",
        0,
        "for k in user pid net; do readlink /proc/self/ns/$k; done; cat /proc/self/cgroup /sys/fs/cgroup/pids.max",
    );
    for (kind, file) in [("user", "user"), ("pid", "pid"), ("network", "net")] {
        second.add_namespace(json!({ "type": kind, "path": format!("/proc/{}/ns/{file}", state["pid"]) }));
    }
    second.config["linux"]["resources"]["pids"] = json!({ "limit": 6 });
    let expected =
        format!("{}\n{}\n{}\n0::/\n6\n", link("user").display(), link("pid").display(), link("net").display());
    assert_eq!(second.say("second"), expected);
    first.ok(&["delete", "--force", "first"]);
    assert!(!Path::new(CGROUPS).join("corten").exists(), "a cgroup is left");
    first.remove();
    second.remove();
}

/// A time namespace with offsets, with a user namespace and without.
pub fn clocks_of_a_container_are_off() {
    for mapped in [false, true] {
        let mut bundle = Bundle::new("clocks", 0, "cat /proc/uptime /proc/self/timens_offsets");
        bundle.add_namespace(json!({ "type": "time" }));
        bundle.config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 86_400, "nanosecs": 3 } });
        if mapped {
            bundle.add_namespace(json!({ "type": "user" }));
            bundle.map_others();
        }
        let out = bundle.say("clocks");
        let words: Vec<&str> = out.split_whitespace().collect();
        assert!(words[0].parse::<f64>().expect("a number") > 86_400.0, "{out}");
        assert_eq!(words[2..], ["monotonic", "0", "0", "boottime", "86400", "3"], "{out}");
        bundle.remove();
    }
}
