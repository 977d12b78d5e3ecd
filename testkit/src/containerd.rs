// SPDX-License-Identifier: Apache-2.0
//! Debian's containerd, of a test's own: its own sandbox, directories, socket and cgroup, driven by `ctr`.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::corten::{Finished, Running};
use crate::process::command;
use crate::sandbox::Sandbox;
use crate::terminal::Terminal;

/// A containerd that runs.
pub struct Containerd {
    directory: tempfile::TempDir,
    sandbox: Sandbox,
    namespace: String,
    process: Child,
}

impl Containerd {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When it does not, with its log.
    #[must_use]
    pub fn start() -> Containerd {
        let directory = tempfile::Builder::new().prefix("corten-containerd-").tempdir().expect("a directory");
        let sandbox = Sandbox::new();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("s.sock"),
            at("t.sock"),
        );
        std::fs::write(at("config.toml"), config).expect("a file");
        let log = std::fs::File::create(at("log")).expect("a file");
        let mut daemon = command("containerd");
        daemon.arg("--config").arg(at("config.toml")).stdin(Stdio::null());
        daemon.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let process = sandbox.run(move || daemon.spawn().expect("containerd is installed"));
        // Its containers' cgroups are below its namespace's name, which is nobody else's.
        let namespace = directory.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let containerd = Containerd { directory, sandbox, namespace, process };
        let begun = Instant::now();
        while UnixStream::connect(containerd.path().join("s.sock")).is_err()
            || containerd.finish(&["version"], b"").code != 0
        {
            assert!(begun.elapsed() < Duration::from_secs(60), "containerd does not answer:\n{}", containerd.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        containerd
    }

    /// The directory that everything of it is in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The containerd namespace of everything it has, which is also its cgroup parent's name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its namespaces.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut ctr = command("ctr");
        ctr.arg("--address").arg(self.path().join("s.sock")).args(["--namespace", &self.namespace]).args(arguments);
        ctr
    }

    /// Starts `ctr` with this input.
    pub fn spawn(&self, arguments: &[&str], input: &[u8]) -> Running {
        let (command, input) = (self.command(arguments), input.to_vec());
        self.sandbox.run(move || Running::start(command, input))
    }

    /// Runs `ctr` with this input to its end.
    #[track_caller]
    pub fn finish(&self, arguments: &[&str], input: &[u8]) -> Finished {
        self.spawn(arguments, input).wait()
    }

    /// Runs `ctr` in a terminal of this many rows and columns.
    pub fn terminal(&self, arguments: &[&str], rows: u16, columns: u16) -> Terminal {
        Terminal::start(&self.sandbox, &self.command(arguments), rows, columns)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let tasks = self.finish(&["task", "ls", "-q"], b"");
        for task in tasks.stdout.split_whitespace() {
            // What cannot be removed is ended with the daemon's sandbox.
            let _ = self.finish(&["task", "rm", "-f", task], b"");
        }
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            // It may have ended on its own.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.process.wait();
        crate::leftovers::remove_cgroups(&self.namespace);
    }
}
