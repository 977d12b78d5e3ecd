// SPDX-License-Identifier: Apache-2.0
//! Corten as the runtime of Debian's containerd, beside runc: the same `ctr` commands, the same answers.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::Finished;
use testkit::containerd::Containerd;
use testkit::fixtures::debian::Form;
use testkit::fixtures::image::Image;

const IMAGE: &str = "docker.io/library/busybox:latest";

/// A containerd with the image, and the link by which our binary is a runtime.
fn containerd() -> Containerd {
    let containerd = Containerd::start();
    symlink(testkit::corten::binary(), containerd.path().join("corten-oci")).expect("a link");
    let (layout, archive) = (containerd.path().join("layout"), containerd.path().join("layout.tar"));
    Image::default()
        .layer(testkit::fixtures::busybox::bytes(), Form::Gzip)
        .config(json!({"Cmd": ["sh"]}))
        .write(&layout);
    let packed = testkit::process::command("tar").arg("-cf").arg(&archive).arg("-C").arg(&layout).arg(".").status();
    assert!(packed.expect("tar").success());
    let import = ["image", "import", "--base-name", "docker.io/library/busybox", &archive.to_string_lossy()];
    containerd.finish(&import, b"").ok();
    containerd
}

/// The same containerd, by one of the two runtimes.
struct Peer<'a> {
    containerd: &'a Containerd,
    name: &'static str,
    binary: String,
}

impl Peer<'_> {
    fn id(&self, id: &str) -> String {
        format!("{id}-{}", self.name)
    }

    #[track_caller]
    fn ctr(&self, arguments: &[&str]) -> Finished {
        self.containerd.finish(arguments, b"")
    }

    /// The arguments of `ctr run`, with these flags, of a container of this id.
    fn arguments(&self, flags: &[&str], id: &str, command: &[&str]) -> Vec<String> {
        let run = ["run", "--runtime", "io.containerd.runc.v2", "--runc-binary", &self.binary];
        let image = if flags.contains(&"--rootfs") { self.root() } else { IMAGE.to_owned() };
        let id = self.id(id);
        [&run, flags, &[&image, &id], command].concat().into_iter().map(str::to_owned).collect()
    }

    #[track_caller]
    fn run(&self, flags: &[&str], id: &str, command: &[&str]) -> Finished {
        let arguments = self.arguments(flags, id, command);
        self.ctr(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The exit code of a script and all that it has written, to a file that is bound into the container: `ctr` and its shim
    /// close their pipes when a task has ended, whether everything in them was read or not, by whatever runtime.
    #[track_caller]
    fn told(&self, flags: &[&str], id: &str, script: &str) -> String {
        let directory = self.containerd.path().join(format!("{}-told", self.id(id)));
        fs::create_dir(&directory).expect("a new directory");
        let mount = format!("type=bind,src={},dst=/told,options=rbind:rw", directory.display());
        let script = format!("exec > /told/all 2>&1; {script}");
        let done = self.run(&[&["--rm", "--mount", &mount], flags].concat(), id, &["/bin/sh", "-c", &script]);
        let written = fs::read_to_string(directory.join("all")).unwrap_or_else(|error| panic!("{error}\n{done}"));
        format!("{} {written}{}{}", done.code, done.stdout, done.stderr)
    }

    /// A plain directory with busybox in it.
    fn root(&self) -> String {
        let root = self.containerd.path().join("plain");
        if fs::create_dir(&root).is_ok() {
            let tar = self.containerd.path().join("plain.tar");
            testkit::fixtures::busybox::write(&tar);
            let unpacked = testkit::process::command("tar").arg("-xf").arg(&tar).arg("-C").arg(&root).status();
            assert!(unpacked.expect("tar").success());
        }
        root.display().to_string()
    }

    /// What `ctr task ls` says of a task.
    fn status(&self, id: &str) -> String {
        let id = self.id(id);
        let all = self.ctr(&["task", "ls"]).ok().stdout;
        let line = all.lines().find(|line| line.split_whitespace().next() == Some(&id));
        line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or("none").to_owned()
    }

    #[track_caller]
    fn await_status(&self, id: &str, status: &str) {
        let begun = Instant::now();
        while self.status(id) != status {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} stays {}", self.id(id), self.status(id));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Looks at something by both runtimes; both must show this.
#[track_caller]
fn both_show(containerd: &Containerd, what: &str, expected: &str, look: impl Fn(&Peer<'_>) -> String) {
    assert_eq!(both_agree(containerd, what, look), expected, "{what}");
}

/// Looks at something by both runtimes and gives what both show.
#[track_caller]
fn both_agree(containerd: &Containerd, what: &str, look: impl Fn(&Peer<'_>) -> String) -> String {
    let ours = containerd.path().join("corten-oci").display().to_string();
    let [theirs, ours] =
        [("runc", "runc".to_owned()), ("corten", ours)].map(|(name, binary)| look(&Peer { containerd, name, binary }));
    assert_eq!(ours, theirs, "{what}: Corten (left) is not runc (right)");
    ours
}

#[test]
fn output_exit_codes_and_terminals() {
    let containerd = containerd();
    both_show(&containerd, "output and code", "3 out\n|err\n", |peer| {
        let script = ["sh", "-c", "echo out; echo err >&2; exit 3"];
        // `ctr` may have read nothing of it before it closes the pipes (see `told`).
        let mut all = (0..10).map(|_| peer.run(&["--rm"], "talker", &script));
        let done = all.find(|done| !done.stdout.is_empty() && !done.stderr.is_empty()).expect("output, at last");
        format!("{} {}|{}", done.code, done.stdout, done.stderr)
    });
    both_show(&containerd, "no such command", "1", |peer| {
        let done = peer.run(&["--rm"], "missing", &["no-such-command"]);
        done.fails(1).saying("executable file not found in $PATH").code.to_string()
    });
    both_show(&containerd, "a terminal", "4", |peer| {
        let arguments = peer.arguments(&["--rm", "-t"], "terminal", &["sh"]);
        let mut terminal = peer.containerd.terminal(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 33, 77);
        terminal.expect("/ # ");
        terminal.send("until stty size | grep '40 100'; do sleep 0.1; done; ls -l /proc/self/fd/0\r");
        terminal.resize_until(40, 100, "/dev/pts/0");
        terminal.send("exit 4\r");
        terminal.wait().to_string()
    });
    both_show(&containerd, "a plain directory", "0 busybox\n", |peer| {
        peer.told(&["--rootfs"], "plain", "ls /bin/busybox").replace("/bin/", "")
    });
}

#[test]
fn a_tasks_life() {
    let containerd = containerd();
    both_show(&containerd, "its states", "RUNNING hello 5|STOPPED|none", |peer| {
        peer.run(&["-d"], "life", &["sleep", "1000"]).ok();
        let id = peer.id("life");
        let mut seen = peer.status("life");
        let exec = peer.ctr(&["task", "exec", "--exec-id", "one", &id, "sh", "-c", "echo hello; exit 5"]);
        seen += &format!(" {} {}", exec.text(), exec.code);
        peer.ctr(&["task", "kill", "-s", "SIGKILL", &id]).ok();
        peer.await_status("life", "STOPPED");
        seen += &format!("|{}", peer.status("life"));
        peer.ctr(&["task", "rm", &id]);
        seen += &format!("|{}", peer.status("life"));
        peer.ctr(&["container", "rm", &id]).ok();
        seen
    });
    both_show(&containerd, "exec in a terminal, as another user, elsewhere", "0", |peer| {
        peer.run(&["-d"], "entered", &["sleep", "1000"]).ok();
        let id = peer.id("entered");
        let flags = ["--tty", "--user", "1000:1001", "--cwd", "/tmp"];
        let command = [&id, "sh", "-c", "echo $(tty) $(id -u):$(id -g) $PWD"];
        let arguments = [&["task", "exec", "--exec-id", "two"], &flags[..], &command].concat();
        let mut terminal = peer.containerd.terminal(&arguments, 24, 80);
        terminal.expect("/dev/pts/0 1000:1001 /tmp");
        terminal.wait().to_string()
    });
    both_show(&containerd, "killing what has ended", "1", |peer| {
        peer.run(&["-d"], "ended", &["true"]).ok();
        peer.await_status("ended", "STOPPED");
        let done = peer.ctr(&["task", "kill", &peer.id("ended")]);
        done.fails(1).saying("process already finished").code.to_string()
    });
    both_show(&containerd, "a signal that is heeded", "RUNNING STOPPED", |peer| {
        let script = "trap 'exit 9' TERM; while :; do sleep 0.05; done";
        peer.run(&["-d"], "heeding", &["sh", "-c", script]).ok();
        let before = peer.status("heeding");
        while peer.status("heeding") != "STOPPED" {
            peer.ctr(&["task", "kill", "-s", "SIGTERM", &peer.id("heeding")]);
            std::thread::sleep(Duration::from_millis(50));
        }
        format!("{before} {}", peer.status("heeding"))
    });
}

#[test]
fn a_task_is_paused_and_its_processes_are_listed() {
    let containerd = containerd();
    both_show(&containerd, "a pause", "RUNNING PAUSED RUNNING", |peer| {
        peer.run(&["-d"], "paused", &["sleep", "1000"]).ok();
        let id = peer.id("paused");
        let mut seen = peer.status("paused");
        for verb in ["pause", "resume"] {
            peer.ctr(&["task", verb, &id]).ok();
            seen += &format!(" {}", peer.status("paused"));
        }
        seen
    });
    both_show(&containerd, "its processes", "2", |peer| {
        peer.run(&["-d"], "family", &["sh", "-c", "sleep 1000; true"]).ok();
        let id = peer.id("family");
        let waiting = ["task", "exec", "--exec-id", "w", &id, "sh", "-c", "until pidof sleep; do sleep 0.1; done"];
        peer.ctr(&waiting).ok();
        let said = peer.ctr(&["task", "ps", &id]).ok().stdout;
        said.lines().skip(1).count().to_string()
    });
}

#[test]
fn namespaces_privileges_and_limits() {
    let containerd = containerd();
    let status = "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; ls /dev | sort; cut -d' ' -f2 /proc/mounts | sort; hostname";
    let cases: [(&str, &[&str], &str); 9] = [
        ("the defaults", &[], status),
        ("a filter", &["--seccomp"], status),
        ("read-only", &["--read-only"], "touch /x"),
        ("capabilities", &["--cap-drop", "CAP_CHOWN", "--cap-add", "CAP_SYS_TIME", "--allow-new-privs"], status),
        ("the host's network", &["--net-host"], "ls /sys/class/net; grep -c . /etc/resolv.conf"),
        ("memory", &["--memory-limit", "33554432"], "cat /sys/fs/cgroup/memory/memory.limit_in_bytes"),
        ("cpus", &["--cpus", "0.5"], "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us"),
        (
            "a mount",
            &["--mount", "type=bind,src=/etc/hostname,dst=/there,options=rbind:ro"],
            "cat /there; echo x > /there",
        ),
        ("directory and environment", &["--cwd", "/tmp", "--env", "A=b"], "pwd; echo $A"),
    ];
    for (what, flags, script) in cases {
        both_agree(&containerd, what, |peer| {
            let id = what.replace(|c: char| !c.is_ascii_alphabetic(), "");
            // A cgroup's and a snapshot's place have the container's name in them, and so the runtime's.
            peer.told(flags, &id, script).replace(peer.name, "RUNTIME")
        });
    }
    both_show(&containerd, "another's network namespace", "same", |peer| {
        peer.run(&["-d"], "owner", &["sleep", "1000"]).ok();
        let tasks = peer.ctr(&["task", "ls"]).ok().stdout;
        let pid = tasks
            .lines()
            .find(|line| line.starts_with(&peer.id("owner")))
            .and_then(|line| line.split_whitespace().nth(1));
        let path = format!("/proc/{}/ns/net", pid.expect("it runs"));
        let namespace = fs::read_link(&path).expect("it runs").display().to_string();
        let flag = format!("network:{path}");
        let seen = peer.told(&["--with-ns", &flag], "guest", "readlink /proc/self/ns/net");
        if seen == format!("0 {namespace}\n") { "same".into() } else { seen }
    });
}

#[test]
fn what_containerd_measures() {
    let containerd = containerd();
    both_show(&containerd, "metrics", "1 33554432", |peer| {
        peer.run(&["-d", "--memory-limit", "33554432"], "measured", &["sleep", "1000"]).ok();
        let said = peer.ctr(&["task", "metrics", "--format", "json", &peer.id("measured")]).ok().stdout;
        let metrics: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        format!("{} {}", metrics["pids"]["current"], metrics["memory"]["usage"]["limit"])
    });
}
