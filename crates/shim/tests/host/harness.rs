// SPDX-License-Identifier: Apache-2.0
//! A daemon's worth of set-up for one test: a busybox root, a zygote, containers, and clients of their shims.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cgroup::{CgroupPath, Host};
use errors::Report;
use oci::runtime_spec::Spec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use shim::frame::{Kind, read_frame, write_frame};
use shim::{
    Exit, LogConfig, Request, ShimFds, ShimHandle, ShimRequest, Started, WaitingShim, Zygote, connect, read_exit,
};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The example program that serves as the zygote's.
pub(crate) fn program() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let program = exe.parent().and_then(Path::parent).unwrap().join("examples/shim_zygote");
    assert!(program.exists(), "{program:?} is missing: cargo build -p shim --examples");
    program
}

/// One test's world.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) zygote: Zygote,
    made: Cell<u32>,
}

impl World {
    pub(crate) fn new() -> World {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for name in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for name in
            ["sh", "cat", "echo", "seq", "sleep", "true", "yes", "head", "stty", "id", "tty", "dd", "grep", "kill"]
        {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let zygote = Zygote::start_program(&program()).unwrap();
        World { dir, zygote, made: Cell::new(0) }
    }

    /// A description of a container that runs `sh -c script`.
    pub(crate) fn request(&self, script: &str) -> ShimRequest {
        self.made.set(self.made.get() + 1);
        let name = self.dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
        let id = format!("shim-{name}-{}", self.made.get());
        let dir = self.dir.path().join(&id);
        std::fs::create_dir(&dir).unwrap();
        let spec = spec(&self.dir.path().join("root"), &id, &["sh", "-c", script]);
        ShimRequest {
            init: false,
            id: id.parse().unwrap(),
            log: Some(LogConfig::new(dir.join("log"))),
            bundle: dir.clone(),
            dir,
            spec,
            filter: None,
            open_stdin: false,
            stdin_once: false,
            trace: false,
            terminal_size: None,
        }
    }

    /// Starts a container, which must succeed.
    pub(crate) fn start(&self, request: ShimRequest) -> Container {
        self.start_with(request, ShimFds::default())
    }

    pub(crate) fn start_with(&self, request: ShimRequest, fds: ShimFds) -> Container {
        self.start_by(None, request, fds)
    }

    /// Starts a container by the shim that waits.
    pub(crate) fn start_by(&self, waiting: Option<WaitingShim>, request: ShimRequest, fds: ShimFds) -> Container {
        let guard = Guard(cgroup_path(&request));
        let handle = self.zygote.spawn(waiting, &request, fds).unwrap();
        let mut control = Client::of(handle.control);
        let started = control.started();
        Container {
            dir: request.dir.clone(),
            pid: handle.pid,
            pidfd: handle.pidfd,
            control,
            started,
            request,
            _guard: guard,
        }
    }

    /// Starts a container, which must fail.
    pub(crate) fn fail(&self, request: ShimRequest) -> Report {
        let ShimHandle { pidfd, control, .. } = self.zygote.spawn(None, &request, ShimFds::default()).unwrap();
        let report = Client::of(control).failed();
        wait_end(&pidfd);
        assert_nothing_left(&request);
        report
    }
}

/// The spec of a container of its own pid, mount, ipc and uts namespaces.
fn spec(root: &Path, id: &str, args: &[&str]) -> Spec {
    let value = json!({
        "ociVersion": "1.2.0",
        "process": process(args),
        "root": {"path": root, "readonly": false},
        "hostname": "shim-test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "cgroupsPath": format!("/corten-test-{id}"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
        },
    });
    serde_json::from_value(value).unwrap()
}

/// A process that runs `args` as root.
pub(crate) fn process(args: &[&str]) -> Value {
    json!({
        "terminal": false,
        "user": {"uid": 0, "gid": 0},
        "args": args,
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
    })
}

/// A running container and its shim.
pub(crate) struct Container {
    pub(crate) dir: PathBuf,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) control: Client,
    pub(crate) started: Started,
    pub(crate) request: ShimRequest,
    _guard: Guard,
}

/// Ends the container of a test that fails.
struct Guard(CgroupPath);

impl Drop for Guard {
    fn drop(&mut self) {
        // After a test that succeeds there is nothing to kill, nor to remove.
        let _ = Host::probe().and_then(|host| host.open(&self.0)).and_then(|group| {
            group.kill()?;
            group.remove()
        });
    }
}

impl Container {
    pub(crate) fn connect(&self, request: &Request) -> Client {
        Client::of(connect(&self.dir, request).unwrap())
    }

    pub(crate) fn attach(&self, stdin: bool) -> Client {
        let mut client = self.connect(&Request::Attach { stdin, stdout: true, stderr: true });
        client.started();
        client
    }

    pub(crate) fn exec(&self, exec_id: &str, process: &Value, stdin: bool, detach: bool) -> Client {
        let process = Box::new(serde_json::from_value(process.clone()).unwrap());
        self.connect(&Request::Exec { exec_id: exec_id.to_owned(), process, stdin, detach })
    }

    /// Waits for the container's and the shim's end; nothing may be left.
    pub(crate) fn finish(mut self) -> Exit {
        let exit = self.control.exited();
        assert!(self.control.next().is_none(), "the watch session ends after the tidying");
        assert_no_cgroup(&self.request);
        wait_end(&self.pidfd);
        let recorded = read_exit(&self.dir).unwrap().unwrap();
        assert_eq!((recorded.code, recorded.signal, recorded.pid), (exit.code, exit.signal, self.started.pid));
        assert_nothing_left(&self.request);
        exit
    }

    /// The log's entries as (stream, text), all files of it.
    pub(crate) fn log(&self) -> Vec<(String, String)> {
        log_of(&self.dir)
    }

    /// Ends the container's own process.
    pub(crate) fn kill(&self, signal: i32) {
        let pidfd = sys::process::pidfd_open(self.started.pid).unwrap();
        sys::process::pidfd_send_signal(pidfd.as_fd(), signal).unwrap();
    }
}

pub(crate) fn log_of(dir: &Path) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    for age in (0..20).rev() {
        let name = if age == 0 { "log".to_owned() } else { format!("log.{age}") };
        let Ok(text) = std::fs::read_to_string(dir.join(name)) else { continue };
        for line in text.lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            entries.push((entry["stream"].as_str().unwrap().into(), entry["log"].as_str().unwrap().into()));
        }
    }
    entries
}

pub(crate) fn cgroup_path(request: &ShimRequest) -> CgroupPath {
    format!("/corten-test-{}", request.id).parse().unwrap()
}

fn assert_no_cgroup(request: &ShimRequest) {
    let tail = cgroup_path(request).to_string();
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let path = format!("{}{tail}", hierarchy.unwrap().path().display());
        assert!(!Path::new(&path).exists(), "{path} is left");
    }
    assert!(!Path::new(&format!("/sys/fs/cgroup{tail}")).exists());
}

pub(crate) fn assert_nothing_left(request: &ShimRequest) {
    assert_no_cgroup(request);
    assert!(!request.dir.join("sock").exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(request.id.as_str()));
}

/// Ends what a failed or killed shim left, as the daemon does.
pub(crate) fn remove_cgroup(request: &ShimRequest) {
    let group = Host::probe().unwrap().open(&cgroup_path(request)).unwrap();
    group.kill().unwrap();
    group.remove().unwrap();
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn wait_end(pidfd: &OwnedFd) {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)).unwrap();
    assert_eq!(ended, 1, "the process did not end");
}

/// A client of a shim.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
}

impl Client {
    pub(crate) fn of(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream }
    }

    pub(crate) fn next(&mut self) -> Option<(Kind, Vec<u8>)> {
        read_frame(&self.stream).unwrap()
    }

    pub(crate) fn send(&mut self, kind: Kind, payload: &[u8]) {
        write_frame(&self.stream, kind, payload).unwrap();
    }

    fn expect<T: serde::de::DeserializeOwned>(&mut self, kind: Kind) -> T {
        let (found, payload) = self.next().expect("a frame");
        assert_eq!(found, kind, "{}", String::from_utf8_lossy(&payload));
        serde_json::from_slice(&payload).unwrap()
    }

    pub(crate) fn started(&mut self) -> Started {
        self.expect(Kind::Started)
    }

    pub(crate) fn exited(&mut self) -> Exit {
        self.expect(Kind::Exited)
    }

    pub(crate) fn failed(&mut self) -> Report {
        self.expect(Kind::Failed)
    }

    pub(crate) fn ok(&mut self) {
        let (kind, payload) = self.next().expect("an answer");
        assert_eq!(kind, Kind::Ok, "{}", String::from_utf8_lossy(&payload));
        assert!(self.next().is_none());
    }

    /// Reads output until `text` has come.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let (kind, payload) = self.next().unwrap_or_else(|| panic!("{text:?} did not come: {all:?}"));
            assert!(matches!(kind, Kind::Stdout | Kind::Stderr), "{kind:?} before {text:?}: {all:?}");
            all.push_str(&String::from_utf8(payload).unwrap());
        }
        all
    }

    /// Everything up to the end: standard output, standard error, the exit.
    pub(crate) fn collect(mut self) -> (Vec<u8>, Vec<u8>, Exit) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.next().expect("an exit before the end") {
                (Kind::Stdout, payload) => out.extend(payload),
                (Kind::Stderr, payload) => err.extend(payload),
                (Kind::Exited, payload) => {
                    assert!(self.next().is_none(), "the exit is the last frame");
                    return (out, err, serde_json::from_slice(&payload).unwrap());
                }
                (kind, payload) => panic!("{kind:?}: {}", String::from_utf8_lossy(&payload)),
            }
        }
    }
}
