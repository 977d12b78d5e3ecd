// SPDX-License-Identifier: Apache-2.0
//! A bundle with busybox, and running it. Everything is below one temporary directory; the cgroup has the bundle's
//! own name, and is gone when the container is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

static NUMBER: AtomicU32 = AtomicU32::new(0);

const APPLETS: [&str; 25] = [
    "sh", "ls", "cat", "id", "mount", "true", "hostname", "ps", "env", "sleep", "pwd", "readlink", "touch", "stat",
    "mkdir", "tty", "stty", "grep", "echo", "nc", "chmod", "kill", "sed", "head", "wc",
];

pub(crate) struct Bundle {
    dir: tempfile::TempDir,
    pub(crate) config: Value,
    pub(crate) id: String,
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, text: &str) -> Ran {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert!(self.err.contains(text), "expected {text:?} in:\n{}", self.err);
        self
    }
}

/// An example program, which `cargo test` builds beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: run `cargo test -p runtime`, which builds it", path.display());
    path
}

impl Bundle {
    /// A bundle whose command is `args`.
    pub(crate) fn new(args: &[&str]) -> Bundle {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let dir = tempfile::Builder::new().prefix("corten-runtime-").tempdir().unwrap();
        let root = dir.path().join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
            .unwrap();
        let made = Command::new(example("oci")).arg("spec").current_dir(dir.path()).status().unwrap();
        assert!(made.success());
        let mut config: Value = serde_json::from_slice(&fs::read(dir.path().join("config.json")).unwrap()).unwrap();
        let id = format!("corten-rt-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(args);
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        if !namespaces.contains(&json!({ "type": "cgroup" })) {
            namespaces.push(json!({ "type": "cgroup" }));
        }
        config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        Bundle { dir, config, id }
    }

    /// A bundle whose command is a script.
    pub(crate) fn script(script: &str) -> Bundle {
        Bundle::new(&["sh", "-c", script])
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn rootfs(&self, path: &str) -> PathBuf {
        self.dir.path().join("rootfs").join(path)
    }

    /// Changes the value at a JSON pointer; `-` at its end appends.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Bundle {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match self.config.pointer_mut(parent).unwrap() {
            Value::Array(list) => list.push(value),
            other => other[key] = value,
        }
        self
    }

    /// One of our command lines, not yet run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        fs::write(self.path().join("config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new(example("oci"));
        command.arg("--root").arg(self.path().join("state")).args(args).current_dir(self.path());
        command
    }

    /// Runs `corten oci ARGS` to its end. Output goes to files: a container left running would keep a pipe open.
    pub(crate) fn oci(&self, args: &[&str]) -> Ran {
        self.finish(self.command(args))
    }

    pub(crate) fn finish(&self, mut command: Command) -> Ran {
        let (out, err) = (self.path().join("out"), self.path().join("err"));
        let file = |path: &Path| Stdio::from(fs::File::create(path).unwrap());
        let status = command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).status().unwrap();
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Ran { code: status.code(), out: text(&out), err: text(&err) }
    }

    /// Runs the container to its end.
    pub(crate) fn run(&self) -> Ran {
        self.oci(&["run", &self.id])
    }

    /// Runs another script in the running container.
    pub(crate) fn exec(&self, script: &str) -> Ran {
        self.oci(&["exec", &self.id, "sh", "-c", script])
    }

    /// Starts the container in the background.
    pub(crate) fn start(self) -> Bundle {
        self.oci(&["run", "--detach", &self.id]).ok();
        self
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.oci(&["state", &self.id]).ok()).unwrap()
    }

    /// The cgroup's directories that exist.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let tops = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
        let all = tops.chain([PathBuf::from("/sys/fs/cgroup")]).map(|top| top.join(&self.id));
        all.filter(|path| path.exists()).collect()
    }

    /// Nothing is left of the container: no directory, no cgroup, no mount in our namespace.
    #[track_caller]
    pub(crate) fn left_nothing(&self) {
        assert!(!self.path().join("state").join(&self.id).exists(), "a state directory is left");
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&*self.path().to_string_lossy()), "a mount is left");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if self.path().join("state").join(&self.id).exists() {
            let deleted = self.command(&["delete", "--force", &self.id]).status();
            if !std::thread::panicking() {
                assert!(deleted.unwrap().success());
            }
        }
    }
}
