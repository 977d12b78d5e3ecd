// SPDX-License-Identifier: Apache-2.0
//! Docker's own command line as a client of Corten.

use std::process::Command;

use testkit::corten::{Finished, Running};
use testkit::{Daemon, process};

/// `docker` with these arguments, this daemon as its engine, and a configuration of the daemon's own directory.
pub fn command(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut docker = process::command("docker");
    docker.args(arguments).env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path());
    docker
}

/// Runs it to its end, without input.
pub fn finish(daemon: &Daemon, arguments: &[&str]) -> Finished {
    let docker = command(daemon, arguments);
    daemon.sandbox().run(move || Running::start(docker, Vec::new())).wait()
}

/// What it prints; it must succeed.
#[track_caller]
pub fn docker(daemon: &Daemon, arguments: &[&str]) -> String {
    finish(daemon, arguments).ok().text().to_owned()
}
