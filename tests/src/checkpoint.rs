// SPDX-License-Identifier: Apache-2.0
//! `corten oci checkpoint` and `restore`, with a real CRIU. They run where CRIU knows the kernel: always in the vm lane's
//! second machine (the distribution's CRIU on the distribution's kernel), and on this one if CRIU says so.

use std::fs;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use testkit::cgroup;

const PATIENCE: Duration = Duration::from_secs(60);

/// Counts in a variable and writes each number into a bind mount.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i > /data/new; mv /data/new /data/count; sleep 0.05; done";

/// Says the number of the line and the line.
const NUMBER_LINES: &str = "n=0; while read -r line; do n=$((n+1)); echo \"<$n $line>\"; done";

/// Sends each number through a connection to itself, and keeps what comes back.
const COUNT_THROUGH_TCP: &str = "nc -l -p 5000 -e cat & sleep 1; mkfifo /dev/shm/f; nc 127.0.0.1 5000 < /dev/shm/f > /data/all & \
    exec 3> /dev/shm/f; n=0; while :; do n=$((n+1)); echo $n >&3; sleep 0.2; done";

/// Memory of the container, to see that the new cgroup has its limits.
const MEMORY: u64 = 96 << 20;

/// A bundle and its container.
pub struct Container {
    directory: tempfile::TempDir,
    name: String,
}

/// How a command of the runtime ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Container {
    /// A container that counts.
    pub fn counting() -> Container {
        Container::running(&["sh", "-c", COUNT], false)
    }

    fn running(command: &[&str], terminal: bool) -> Container {
        let directory = tempfile::Builder::new().prefix("corten-test-").tempdir().expect("a directory");
        let name = directory.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let root = directory.path().join("rootfs");
        for below in ["bin", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(root.join(below)).expect("a directory");
        }
        fs::create_dir(directory.path().join("data")).expect("a directory");
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox is installed");
        for applet in ["sh", "sleep", "mv", "cat", "nc", "mkfifo"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link");
        }
        let container = Container { directory, name };
        container.oci(&["spec"]).ok();
        container.configure(command, terminal);
        container
    }

    fn configure(&self, command: &[&str], terminal: bool) {
        let path = self.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        config["process"]["terminal"] = terminal.into();
        config["process"]["args"] = command.iter().copied().collect();
        // This machine may not raise its limits; the runtime must not have to.
        config["process"]["rlimits"] = json!([]);
        config["linux"]["cgroupsPath"] = format!("/{}", self.name).into();
        config["linux"]["resources"]["memory"] = json!({ "limit": MEMORY });
        let data = json!({ "destination": "/data", "source": "data", "options": ["bind", "rw"] });
        config["mounts"].as_array_mut().expect("the sample has mounts").push(data);
        fs::write(path, config.to_string()).expect("a file");
    }

    /// The bundle.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The container's id, which is nobody else's.
    pub fn id(&self) -> &str {
        &self.name
    }

    /// The runtime, with these words, in the bundle's directory.
    pub fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = testkit::process::command(testkit::corten::binary());
        command.arg("oci").arg("--root").arg(self.path().join("state")).args(words).current_dir(self.path());
        command
    }

    /// Runs it. Its output goes to files: a container that it leaves running has them open as long as it lives.
    pub fn oci(&self, words: &[&str]) -> Ended {
        self.finish(self.command(words))
    }

    /// Runs such a command to its end.
    pub fn finish(&self, mut command: std::process::Command) -> Ended {
        let file = |name: &str| fs::File::create(self.path().join(name)).expect("a file");
        let status = command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).status();
        let text = |name: &str| fs::read_to_string(self.path().join(name)).unwrap_or_default();
        Ended { code: status.expect("it starts").code(), stdout: text("stdout"), stderr: text("stderr") }
    }

    /// Starts the container with nothing for its streams: files of the host that it cannot see.
    pub fn start(&self) {
        let mut command = self.command(&["run", "--detach", &self.name]);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.expect("it starts").success(), "the container does not start");
    }

    /// Restores it in the same way.
    #[track_caller]
    pub fn restore(&self, images: &str) {
        self.restore_with(images, &[]);
    }

    #[track_caller]
    fn restore_with(&self, images: &str, more: &[&str]) {
        let words = ["restore", "--detach", "--image-path", images, "--work-path", "work", "--pid-file", "pid"];
        let mut command = self.command(&words);
        let stderr = fs::File::create(self.path().join("stderr")).expect("a file");
        command.args(more).arg(&self.name).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let status = command.status().expect("it starts");
        let said = fs::read_to_string(self.path().join("stderr")).unwrap_or_default();
        assert!(status.success(), "{said}");
    }

    /// The last number it wrote.
    pub fn count(&self) -> u64 {
        let text = fs::read_to_string(self.path().join("data/count")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Waits until it has counted beyond `number`.
    #[track_caller]
    pub fn counts_beyond(&self, number: u64) {
        let end = Instant::now() + PATIENCE;
        while self.count() <= number {
            assert!(Instant::now() < end, "it does not count: it is at {} and was at {number}", self.count());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `state` says, when there is such a container.
    pub fn state(&self) -> Option<Value> {
        let ended = self.oci(&["state", &self.name]);
        (ended.code == Some(0)).then(|| serde_json::from_str(&ended.stdout).expect("JSON"))
    }

    #[track_caller]
    fn pid(&self) -> i64 {
        let state = self.state().expect("it is known");
        assert_eq!(state["status"], "running");
        state["pid"].as_i64().expect("a number")
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let roots = testkit::leftovers::cgroup_roots();
        roots.into_iter().map(|root| root.join(&self.name)).filter(|path| path.exists()).collect()
    }

    /// Ends it, and sees that nothing is left.
    #[track_caller]
    pub fn end(self) {
        self.oci(&["delete", "--force", &self.name]).ok();
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
        assert!(!self.path().join("state").join(&self.name).exists());
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
        assert!(!mounts.contains(&self.name), "mounts are left:\n{mounts}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // After a failed check; what had an end has nothing to delete any more.
        if std::thread::panicking() {
            self.oci(&["delete", "--force", &self.name]);
        }
    }
}

impl Ended {
    /// The same, when it succeeded.
    #[track_caller]
    pub fn ok(self) -> Ended {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// Memory, mounts, cgroup, limits and names are as before; between checkpoint and restore there is nothing.
pub fn a_container_goes_on_counting_after_a_restore() {
    let container = Container::counting();
    container.start();
    container.counts_beyond(3);
    container.oci(&["checkpoint", "--image-path", "images", "--work-path", "work", container.id()]).ok();
    let saved = container.count();
    assert!(container.path().join("work/dump.log").exists(), "the log is not in the work path");
    assert!(container.state().is_none() && container.cgroups().is_empty(), "it is not gone");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(container.count(), saved, "it still counts");
    fs::remove_file(container.path().join("data/count")).expect("it wrote one");
    container.restore("images");
    container.counts_beyond(saved);
    assert!(container.count() < saved + 2000, "that is not the count it had: {} after {saved}", container.count());
    let pid = container.pid();
    assert_eq!(fs::read_to_string(container.path().join("pid")).expect("a pid file"), pid.to_string());
    let limit = cgroup::number(pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, Some(MEMORY), "the new cgroup has not its limit");
    let place = cgroup::of(pid, "memory").0;
    assert!(place.ends_with(container.id()), "it is in {}", place.display());
    let inside =
        container.oci(&["exec", container.id(), "sh", "-c", "cat /proc/keys /dev/null; cat /proc/1/comm"]).ok();
    assert_eq!(inside.stdout, "sh\n", "a mask is gone, or it is another process");
    // What was restored can be saved again.
    container.oci(&["checkpoint", "--image-path", "again", "--work-path", "work", container.id()]).ok();
    let saved = container.count();
    container.restore("again");
    container.counts_beyond(saved);
    container.end();
}

/// With `--leave-running` it never stops, and is saved all the same.
pub fn a_container_left_running_runs_on_and_is_saved_all_the_same() {
    let container = Container::counting();
    container.start();
    container.counts_beyond(3);
    let pid = container.pid();
    container.oci(&["checkpoint", "--leave-running", "--image-path", "images", container.id()]).ok();
    let saved = container.count();
    container.counts_beyond(saved + 3);
    assert_eq!(container.pid(), pid);
    assert!(container.path().join("images/dump.log").exists(), "without a work path the log is with the images");
    container.oci(&["delete", "--force", container.id()]).ok();
    fs::remove_file(container.path().join("data/count")).expect("it wrote one");
    container.restore("images");
    container.counts_beyond(saved);
    container.end();
}

/// Memory that has not changed since `--pre-dump` is in the parent's images.
pub fn a_pre_dump_is_the_parent_of_a_dump() {
    // A mebibyte that stays as it is, of a process that does nothing. The one that counts asks for memory and gives it back, and
    // all of a mapping that grows counts as changed.
    let idle = "b=x; i=0; while [ $i -lt 20 ]; do b=$b$b; i=$((i+1)); done; (while :; do sleep 1000; done) & b=;";
    let container = Container::running(&["sh", "-c", &format!("{idle} {COUNT}")], false);
    container.start();
    container.counts_beyond(3);
    container.oci(&["checkpoint", "--pre-dump", "--image-path", "images/first", container.id()]).ok();
    let saved = container.count();
    container.counts_beyond(saved);
    let words = ["checkpoint", "--parent-path", "../first", "--image-path", "images/last", container.id()];
    container.oci(&words).ok();
    let pages = |directory: &str| {
        let entries = fs::read_dir(container.path().join("images").join(directory)).expect("images");
        let pages = entries
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("pages-"));
        pages.map(|entry| entry.metadata().expect("a file").len()).sum::<u64>()
    };
    assert!(pages("last") < pages("first") / 2, "all memory was saved again: {} {}", pages("last"), pages("first"));
    let saved = container.count();
    container.restore("images/last");
    container.counts_beyond(saved);
    container.end();
}

/// The terminal's other side comes over a socket again, and the shell behind it remembers.
pub fn a_terminal_is_handed_over_again() {
    let container = Container::running(&["sh", "-c", NUMBER_LINES], true);
    let listener = UnixListener::bind(container.path().join("socket")).expect("a socket");
    let receive = |words: &[&str]| {
        let mut command = container.command(words);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("it starts");
        assert!(status.success(), "{words:?}");
        let (stream, _) = listener.accept().expect("somebody calls");
        fs::File::from(received(&stream))
    };
    let mut terminal = receive(&["run", "--detach", "--console-socket", "socket", container.id()]);
    terminal.write_all(b"before\n").expect("a terminal");
    expect(&mut terminal, "<1 before>");
    container.oci(&["checkpoint", "--image-path", "images", container.id()]).ok();
    drop(terminal);
    let words = ["restore", "--detach", "--console-socket", "socket", "--image-path", "images", container.id()];
    let mut terminal = receive(&words);
    terminal.write_all(b"after\n").expect("a terminal");
    expect(&mut terminal, "<2 after>");
    container.end();
}

/// Stays with the container, and ends as it ends. Its streams are pipes, which are other ones after the restore.
pub fn a_restore_in_the_foreground_has_the_containers_exit_code() {
    let script = "n=0; while read -r line; do n=$((n+1)); echo \"<$n $line>\"; [ $line = end ] && exit 7; done";
    let container = Container::running(&["sh", "-c", script], false);
    let start = |words: &[&str]| {
        let mut command = container.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts")
    };
    let say = |child: &mut std::process::Child, line: &str| {
        child.stdin.as_mut().expect("a pipe").write_all(line.as_bytes()).expect("it listens");
    };
    let mut first = start(&["run", container.id()]);
    say(&mut first, "before\n");
    expect(first.stdout.as_mut().expect("a pipe"), "<1 before>");
    container.oci(&["checkpoint", "--image-path", "images", container.id()]).ok();
    assert_eq!(first.wait().expect("our child").code(), Some(137), "CRIU kills what it has saved");
    let mut second = start(&["restore", "--image-path", "images", container.id()]);
    say(&mut second, "end\n");
    expect(second.stdout.as_mut().expect("a pipe"), "<2 end>");
    assert_eq!(second.wait().expect("our child").code(), Some(7));
    assert!(container.state().is_none(), "it was not cleaned up");
    container.end();
}

/// A network namespace with loopback, as long as this lives.
struct Network(std::process::Child);

impl Network {
    /// Makes one and has `link` lead to it.
    fn new(link: &Path) -> Network {
        let ready = link.with_extension("ready");
        let script = format!("ip link set lo up && echo > {} && exec sleep 600", ready.display());
        let mut command = testkit::process::command("/bin/busybox");
        let child = command.args(["unshare", "-n", "/bin/busybox", "sh", "-c", &script]).spawn().expect("busybox");
        let end = Instant::now() + PATIENCE;
        while !ready.exists() {
            assert!(Instant::now() < end, "no network namespace");
            std::thread::sleep(Duration::from_millis(20));
        }
        fs::remove_file(ready).expect("it was there");
        std::os::unix::fs::symlink(format!("/proc/{}/ns/net", child.id()), link).expect("a link");
        Network(child)
    }

    fn end(mut self, link: &Path) {
        fs::remove_file(link).expect("the link");
        self.0.kill().expect("our child");
        self.0.wait().expect("our child");
    }
}

/// With `--tcp-established`, in a network namespace that somebody else makes, and makes anew before the restore.
pub fn an_open_connection_goes_on_in_a_new_network_namespace() {
    let container = Container::running(&["sh", "-c", COUNT_THROUGH_TCP], false);
    let link = container.path().join("network");
    let network = Network::new(&link);
    let path = container.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("the sample has namespaces");
    let own = namespaces.iter_mut().find(|namespace| namespace["type"] == "network").expect("one of its own");
    own["path"] = link.display().to_string().into();
    fs::write(path, config.to_string()).expect("a file");
    let lines = || fs::read_to_string(container.path().join("data/all")).unwrap_or_default().lines().count();
    let more_than = |number: usize| {
        let end = Instant::now() + PATIENCE;
        while lines() <= number {
            assert!(Instant::now() < end, "nothing comes back: {} lines", lines());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    container.start();
    more_than(3);
    let refused = container.oci(&["checkpoint", "--image-path", "refused", container.id()]);
    assert_eq!(refused.code, Some(1), "an open connection was saved unasked: {refused:?}");
    more_than(lines());
    container.oci(&["checkpoint", "--tcp-established", "--image-path", "images", container.id()]).ok();
    let saved = lines();
    network.end(&link);
    let network = Network::new(&link);
    container.restore_with("images", &["--tcp-established"]);
    more_than(saved + 3);
    container.oci(&["delete", "--force", container.id()]).ok();
    let all = fs::read_to_string(container.path().join("data/all")).expect("a file");
    assert!(all.lines().enumerate().all(|(index, line)| line == (index + 1).to_string()), "a number is lost: {all}");
    network.end(&link);
    container.end();
}

/// A restore that fails says why, and leaves nothing: no cgroup, no mount, and the root as it was.
pub fn a_restore_that_fails_leaves_nothing() {
    let container = Container::counting();
    container.start();
    container.counts_beyond(1);
    container.oci(&["checkpoint", "--image-path", "images", container.id()]).ok();
    let pages = fs::read_dir(container.path().join("images")).expect("images");
    for entry in pages.map(|entry| entry.expect("an entry")) {
        if entry.file_name().to_string_lossy().starts_with("mm-") {
            fs::write(entry.path(), "no image").expect("a file");
        }
    }
    let failed = container.oci(&["restore", "--detach", "--image-path", "images", container.id()]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("CRIU could not restore the container\n"), "{failed:?}");
    assert!(failed.stderr.contains("restore.log"), "the error does not name the log: {failed:?}");
    assert!(container.state().is_none());
    assert!(container.path().join("rootfs/bin/busybox").exists(), "the root was emptied");
    container.end();
}

fn received(stream: &std::os::unix::net::UnixStream) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    recvmsg(stream, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty()).expect("a message");
    let fds = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.expect("a descriptor came")
}

/// Reads until `text` was shown.
#[track_caller]
fn expect(from: &mut impl Read, text: &str) {
    let mut shown = Vec::new();
    let mut buffer = [0; 256];
    while !String::from_utf8_lossy(&shown).contains(text) {
        match from.read(&mut buffer) {
            Ok(length @ 1..) => shown.extend_from_slice(&buffer[..length]),
            other => panic!("{other:?}, and {text:?} was not shown: {:?}", String::from_utf8_lossy(&shown)),
        }
    }
}
