// SPDX-License-Identifier: Apache-2.0
//! Corten's daemon and Docker's, each in a sandbox of its own, asked in turns.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Instant;

use testkit::Daemon;
use testkit::corten::binary;
use testkit::docker::Docker;
use testkit::process::command;
use testkit::sandbox::Sandbox;

use super::sample::{Row, Samples, Unit};

/// Two daemons.
pub(super) struct Pair {
    pub(super) docker: Docker,
    pub(super) corten: Daemon,
}

impl Pair {
    /// Starts both. Corten has the `busybox` image.
    pub(super) fn start() -> Result<Pair, Box<dyn Error>> {
        let corten = Daemon::builder().run_in_memory().start();
        corten.import_busybox();
        Ok(Pair { docker: Docker::start()?, corten })
    }

    /// The same arguments to both, in turns, this often.
    pub(super) fn alternate(
        &self,
        job: &str,
        rounds: usize,
        arguments: &[&str],
        goal: Option<f64>,
    ) -> Result<Row, Box<dyn Error>> {
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        // The first of each fills caches and pools; nobody counts it.
        for round in 0..=rounds {
            let time = self.corten_takes(arguments)?;
            let other = self.docker_takes(arguments)?;
            if round > 0 {
                ours.push(time);
                theirs.push(other);
            }
        }
        Ok(Row { job: job.to_owned(), unit: Unit::Time, peer: "Docker", ours, theirs, goal })
    }

    /// How long a command of Corten's takes, in seconds.
    pub(super) fn corten_takes(&self, arguments: &[&str]) -> Result<f64, Box<dyn Error>> {
        let mut command = command(binary());
        command.args(arguments).env("CORTEN_HOST", self.corten.host());
        timed_inside(self.corten.sandbox(), command)
    }

    /// How long a command of Docker's takes, in seconds.
    pub(super) fn docker_takes(&self, arguments: &[&str]) -> Result<f64, Box<dyn Error>> {
        timed_inside(self.docker.sandbox(), self.docker.command(arguments))
    }
}

/// How long a command takes inside a sandbox, in seconds. It must succeed.
pub(super) fn timed_inside(sandbox: &Sandbox, mut command: Command) -> Result<f64, Box<dyn Error>> {
    sandbox.run(move || timed(&mut command).map_err(|error| error.to_string())).map_err(Into::into)
}

/// How long a command takes, in seconds. It must succeed.
pub(super) fn timed(command: &mut Command) -> Result<f64, Box<dyn Error>> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let output = command.output()?;
    let took = begun.elapsed().as_secs_f64();
    if output.status.success() {
        Ok(took)
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}
