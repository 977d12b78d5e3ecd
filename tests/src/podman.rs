// SPDX-License-Identifier: Apache-2.0
//! Corten as the runtime of Debian's podman, beside crun. Only in the vm lane: podman refuses a hybrid hierarchy.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use testkit::process::command;
use testkit::{Finished, Running};

/// podman, where Debian has it.
const PROGRAM: &str = "/usr/bin/podman";

/// The root of every container.
const ROOT: &str = "/tmp/podman-root";
/// Corten by a name that makes it a runtime.
const CORTEN: &str = "/bin/corten-oci";
/// podman starts three programs for a container, in software emulation.
const PATIENCE: Duration = Duration::from_secs(60);

/// podman with one of the two runtimes.
#[derive(Clone, Copy)]
struct Peer {
    runtime: &'static str,
    name: &'static str,
}

const PEERS: [Peer; 2] = [Peer { runtime: "/usr/bin/crun", name: "crun" }, Peer { runtime: CORTEN, name: "corten" }];

impl Peer {
    fn id(self, id: &str) -> String {
        format!("{id}-{}", self.name)
    }

    fn podman(self, arguments: &[&str]) -> Finished {
        let mut podman = command(PROGRAM);
        podman.args(["--runtime", self.runtime, "--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        podman.args(["--storage-driver", "vfs", "--root", "/var/lib/podman", "--runroot", "/run/podman"]);
        podman.args(arguments).env("HOME", "/root").env("PATH", "/usr/bin:/bin");
        Running::start(podman, Vec::new()).wait_for(PATIENCE)
    }

    fn run(self, flags: &[&str], words: &[&str]) -> Finished {
        self.podman(&[&["run", "--network", "none"], flags, &["--rootfs", ROOT], words].concat())
    }

    fn start(self, id: &str, flags: &[&str], words: &[&str]) -> String {
        let name = self.id(id);
        self.run(&[&["-d", "--name", &name], flags].concat(), words).ok();
        name
    }

    fn inspect(self, name: &str, form: &str) -> String {
        self.podman(&["inspect", "--format", form, name]).ok().text().to_owned()
    }
}

fn both_show(what: &str, expected: &str, look: impl Fn(Peer) -> String) {
    make_root();
    let [theirs, ours] = PEERS.map(&look);
    assert_eq!(ours, theirs, "{what}: Corten (left) is not crun (right)");
    assert_eq!(ours, expected, "{what}");
}

fn make_root() {
    if Path::new(ROOT).exists() {
        return;
    }
    symlink("/bin/corten", CORTEN).expect("a link");
    fs::create_dir(ROOT).expect("a directory");
    fs::write("/tmp/busybox.tar", testkit::fixtures::busybox::bytes()).expect("a file");
    let unpacked = command("tar").args(["-xf", "/tmp/busybox.tar", "-C", ROOT]).status().expect("tar");
    assert!(unpacked.success());
}

/// Exit codes and streams of `podman run`.
pub fn podman_runs_a_command() {
    let script = "echo out; echo err >&2; exit 3";
    both_show("streams and code", "3 out\n|err\n", |peer| {
        let done = peer.run(&["--rm"], &["sh", "-c", script]);
        format!("{} {}|{}", done.code, done.stdout, done.stderr)
    });
    for (command, code) in [("no-such-command", 127), ("/etc/not-executable", 126), ("/no/such", 127)] {
        both_show(command, &code.to_string(), |peer| peer.run(&["--rm"], &[command]).code.to_string());
    }
    both_show("a terminal", "0 /dev/pts/0\r\n", |peer| {
        let done = peer.run(&["--rm", "-t"], &["tty"]);
        format!("{} {}", done.code, done.stdout)
    });
}

/// `podman exec`, `pause`, `kill` and `stop`.
pub fn podman_operates_a_container() {
    both_show("exec", "42 inside\n", |peer| {
        let name = peer.start("target", &[], &["sleep", "1000"]);
        let done = peer.podman(&["exec", "-e", "A=inside", &name, "sh", "-c", "echo $A; exit 42"]);
        format!("{} {}", done.code, done.stdout)
    });
    both_show("exec of nothing", "127", |peer| {
        peer.podman(&["exec", &peer.id("target"), "no-such-command"]).code.to_string()
    });
    both_show("a pause", "paused running", |peer| {
        let name = peer.id("target");
        let mut seen = Vec::new();
        for verb in ["pause", "unpause"] {
            peer.podman(&[verb, &name]).ok();
            seen.push(peer.inspect(&name, "{{.State.Status}}"));
        }
        seen.join(" ")
    });
    both_show("killed", "137 exited", |peer| {
        let name = peer.id("target");
        peer.podman(&["kill", &name]).ok();
        let code = peer.podman(&["wait", &name]).ok().text().to_owned();
        let status = peer.inspect(&name, "{{.State.Status}}");
        peer.podman(&["rm", &name]).ok();
        format!("{code} {status}")
    });
    both_show("stopped", "7", |peer| {
        let name = peer.start("heeding", &[], &["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]);
        std::thread::sleep(Duration::from_secs(1));
        peer.podman(&["stop", "-t", "20", &name]).ok();
        let code = peer.inspect(&name, "{{.State.ExitCode}}");
        peer.podman(&["rm", &name]).ok();
        code
    });
}

/// Limits on cgroup v2, and a health check.
pub fn podman_limits_and_checks() {
    both_show("limits", "33554432 50000 100000 20", |peer| {
        let flags = ["--rm", "--memory", "32m", "--cpus", "0.5", "--pids-limit", "20"];
        let script = "cd /sys/fs/cgroup; echo $(cat memory.max cpu.max pids.max)";
        peer.run(&flags, &["sh", "-c", script]).ok().text().to_owned()
    });
    both_show("health", "healthy", |peer| {
        let name = peer.start(
            "health",
            &["--health-cmd", "test -e /etc/passwd", "--health-interval", "disable"],
            &["sleep", "1000"],
        );
        let begun = Instant::now();
        while peer.podman(&["healthcheck", "run", &name]).code != 0 {
            assert!(begun.elapsed() < PATIENCE, "{name} does not get well");
        }
        let status = peer.inspect(&name, "{{.State.Health.Status}}");
        peer.podman(&["rm", "-f", "-t", "0", &name]).ok();
        status
    });
}

/// A user namespace that podman asks for by its mapping.
pub fn podman_maps_users() {
    both_show("mapped users", "0 100000 1", |peer| {
        let flags = ["--rm", "--uidmap", "0:100000:1000", "--gidmap", "0:200000:1000"];
        let script = "id -u; awk '{print $2}' /proc/self/uid_map; grep -c . /proc/self/gid_map";
        peer.run(&flags, &["sh", "-c", script]).ok().text().replace('\n', " ")
    });
}
