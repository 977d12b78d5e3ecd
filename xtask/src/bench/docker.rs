// SPDX-License-Identifier: Apache-2.0
//! A Docker daemon of the benchmark's own: its own sandbox, directories, socket and cgroup.

use std::error::Error;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::process::command;
use testkit::sandbox::Sandbox;

const CGROUP: &str = "/corten-test-docker";

pub(super) struct Docker {
    directory: tempfile::TempDir,
    sandbox: Sandbox,
    process: Child,
}

impl Docker {
    pub(super) fn start() -> Result<Docker, Box<dyn Error>> {
        let directory = tempfile::Builder::new().prefix("corten-bench-").tempdir()?;
        let sandbox = Sandbox::new();
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
            .args(["--cgroup-parent", CGROUP, "--storage-driver", "overlay2"])
            .args(["--insecure-registry", "127.0.0.1:5000"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = sandbox.run(move || daemon.spawn())?;
        let docker = Docker { directory, sandbox, process };
        let begun = Instant::now();
        while UnixStream::connect(docker.directory.path().join("s.sock")).is_err() || docker.run(&["version"]).is_err()
        {
            if begun.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(docker.directory.path().join("log"))?;
                return Err(format!("dockerd does not answer:\n{log}").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(docker)
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    pub(super) fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap_or_default()
    }

    fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("s.sock").display())
    }

    /// A docker command for this daemon.
    pub(super) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut docker = command("docker");
        docker.args(arguments).env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.directory.path());
        docker
    }

    /// Runs a docker command, which must succeed, and gives its output.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
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
        testkit::leftovers::remove_cgroups(CGROUP);
    }
}
