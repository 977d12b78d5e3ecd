// SPDX-License-Identifier: Apache-2.0
//! Debian's Docker daemon, of a test's or the benchmark's own: its own sandbox, directories, socket and cgroup.

use std::error::Error;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::corten::{Finished, Running};
use crate::process::command;
use crate::sandbox::Sandbox;
use crate::terminal::Terminal;

/// A Docker daemon that runs.
pub struct Docker {
    directory: tempfile::TempDir,
    sandbox: Sandbox,
    cgroup: String,
    process: Child,
}

impl Docker {
    /// Starts one as it is, and waits until it answers.
    ///
    /// # Errors
    /// When it does not, with its log.
    pub fn start() -> Result<Docker, Box<dyn Error>> {
        Docker::start_with(|_| Vec::new())
    }

    /// The same, with more arguments for `dockerd`, which may name files in its directory.
    ///
    /// # Errors
    /// When it does not answer, with its log.
    pub fn start_with(arguments: impl FnOnce(&Path) -> Vec<String>) -> Result<Docker, Box<dyn Error>> {
        let directory = tempfile::Builder::new().prefix("corten-docker-").tempdir()?;
        let sandbox = Sandbox::new();
        // As on hosts, whose `/run` is a tmpfs.
        crate::daemon::mount_in_memory(&sandbox, directory.path().join("exec"));
        let cgroup = format!("/{}", directory.path().file_name().unwrap_or_default().to_string_lossy());
        let at = |name: &str| directory.path().join(name);
        let log = std::fs::File::create(at("log"))?;
        let mut daemon = command("dockerd");
        daemon
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .args(["--host", &format!("unix://{}", at("s.sock").display())])
            .args(["--cgroup-parent", &cgroup, "--storage-driver", "overlay2"])
            .args(["--insecure-registry", "127.0.0.1:5000"])
            .args(arguments(directory.path()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = sandbox.run(move || daemon.spawn())?;
        let docker = Docker { directory, sandbox, cgroup, process };
        let begun = Instant::now();
        while UnixStream::connect(docker.directory.path().join("s.sock")).is_err() || docker.run(&["version"]).is_err()
        {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err(format!("dockerd does not answer:\n{}", docker.log()).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(docker)
    }

    /// Its namespaces.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The directory that everything of it is in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What it keeps of running containers, as seen from here.
    pub fn exec_root(&self) -> std::path::PathBuf {
        let inside = self.path().join("exec");
        Path::new(&format!("/proc/{}/root", self.pid())).join(inside.strip_prefix("/").unwrap_or(&inside))
    }

    /// Its cgroup parent, an absolute path in each hierarchy.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap_or_default()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("s.sock").display())
    }

    /// A docker command for this daemon.
    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut docker = command("docker");
        docker.args(arguments).env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.directory.path());
        // The builder of the daemon itself: the other one is a program of its own.
        docker.env("DOCKER_BUILDKIT", "0");
        docker
    }

    /// Starts a docker command with this input.
    pub fn spawn(&self, arguments: &[&str], input: &[u8]) -> Running {
        let (command, input) = (self.command(arguments), input.to_vec());
        self.sandbox.run(move || Running::start(command, input))
    }

    /// Runs a docker command with this input to its end.
    #[track_caller]
    pub fn finish(&self, arguments: &[&str], input: &[u8]) -> Finished {
        self.spawn(arguments, input).wait()
    }

    /// Runs a docker command in a terminal of this many rows and columns.
    pub fn terminal(&self, arguments: &[&str], rows: u16, columns: u16) -> Terminal {
        Terminal::start(&self.sandbox, &self.command(arguments), rows, columns)
    }

    /// Runs a docker command, which must succeed, and gives its output.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
        let mut docker = self.command(arguments);
        let output = self.sandbox.run(move || docker.stdin(Stdio::null()).output())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(format!("docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)).into())
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Ok(all) = self.run(&["ps", "-aq"]) {
            let remove: Vec<&str> = ["rm", "-f"].into_iter().chain(all.split_whitespace()).collect();
            if remove.len() > 2 {
                // What cannot be removed is ended with the daemon's sandbox.
                let _ = self.run(&remove);
            }
        }
        if let Some(pid) = Pid::from_raw(self.pid()) {
            // It may have ended on its own.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.process.wait();
        crate::leftovers::remove_cgroups(&self.cgroup);
    }
}
