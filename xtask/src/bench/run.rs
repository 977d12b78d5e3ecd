// SPDX-License-Identifier: Apache-2.0
//! What is measured for running containers.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Instant;

use testkit::Daemon;
use testkit::corten::binary;
use testkit::fixtures::registry::Registry;
use testkit::process::command;
use testkit::sandbox::Sandbox;

use super::docker::Docker;
use super::sample::{Row, Samples, Unit};
use super::{bundle, image, memory};

type Rows = Result<Vec<Row>, Box<dyn Error>>;

/// How often each command is run on each side.
const ROUNDS: usize = 20;
const CONTAINERS: usize = 20;

/// Everything, in the order of the table.
pub(super) fn measure() -> Rows {
    let mut rows = vec![start_of_a_program()?];
    let docker = Docker::start()?;
    let corten = Daemon::with_busybox();
    let tar = corten.path().join("busybox.tar");
    docker.run(&["import", &tar.to_string_lossy(), "busybox"])?;
    let pair = Pair { docker, corten };
    rows.push(pair.idle_memory());
    rows.push(pair.alternate("`run --rm IMAGE true`, bridge", &["run", "--rm", "busybox", "true"], Some(0.1))?);
    let none = ["run", "--rm", "--network", "none", "busybox", "true"];
    rows.push(pair.alternate("`run --rm --network none IMAGE true`", &none, Some(1.0 / 40.0))?);
    rows.extend(pair.with_containers()?);
    rows.push(pair.bare_runtime()?);
    rows.push(pair.pull()?);
    Ok(rows)
}

/// Doing nothing: `corten --version` beside `busybox true`.
fn start_of_a_program() -> Result<Row, Box<dyn Error>> {
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for _ in 0..200 {
        ours.push(timed(command(binary()).arg("--version"))?);
        theirs.push(timed(command("/bin/busybox").arg("true"))?);
    }
    let job = "start: `corten --version`".to_owned();
    Ok(Row { job, unit: Unit::Time, peer: "`busybox true`", ours, theirs, goal: Some(1.5) })
}

/// Two daemons with the same image.
struct Pair {
    docker: Docker,
    corten: Daemon,
}

impl Pair {
    /// The same arguments to both, in turns.
    fn alternate(&self, job: &str, arguments: &[&str], goal: Option<f64>) -> Result<Row, Box<dyn Error>> {
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        // The first of each fills caches and pools; nobody counts it.
        for round in 0..=ROUNDS {
            let time = self.corten_takes(arguments)?;
            let other = self.docker_takes(arguments)?;
            if round > 0 {
                ours.push(time);
                theirs.push(other);
            }
        }
        Ok(Row { job: job.to_owned(), unit: Unit::Time, peer: "Docker", ours, theirs, goal })
    }

    fn corten_takes(&self, arguments: &[&str]) -> Result<f64, Box<dyn Error>> {
        let mut command = command(binary());
        command.args(arguments).env("CORTEN_HOST", self.corten.host());
        timed_inside(self.corten.sandbox(), command)
    }

    fn docker_takes(&self, arguments: &[&str]) -> Result<f64, Box<dyn Error>> {
        timed_inside(self.docker.sandbox(), self.docker.command(arguments))
    }

    fn idle_memory(&self) -> Row {
        let sum = |pid| memory::family(pid).into_iter().map(memory::proportional).sum();
        let (ours, theirs) = (Samples::one(sum(self.corten.pid())), Samples::one(sum(self.docker.pid())));
        let job = "memory of the idle daemon".to_owned();
        Row { job, unit: Unit::Memory, peer: "Docker", ours, theirs, goal: Some(0.2) }
    }

    /// `exec` into one of twenty, `ps` of twenty, and what each of them costs in memory.
    fn with_containers(&self) -> Rows {
        for number in 0..CONTAINERS {
            let (name, port) = (format!("c{number}"), format!("{}:80", 8000 + number));
            let arguments = ["run", "-d", "--name", &name, "-p", &port, "busybox", "sleep", "3600"];
            self.docker.run(&arguments)?;
            self.corten.ok(&arguments);
        }
        let per_container = |processes: &[i32]| {
            Samples::one(processes.iter().map(|pid| memory::proportional(*pid)).sum::<f64>() / CONTAINERS as f64)
        };
        let docker_root = self.docker.path().to_string_lossy().into_owned();
        let mut monitors = memory::with_words(&["containerd-shim", &docker_root]);
        let family = memory::family(self.docker.pid()).into_iter();
        monitors.extend(family.filter(|pid| testkit::leftovers::command_line(*pid).contains("docker-proxy")));
        let theirs = per_container(&monitors);
        let shims: Vec<i32> = (0..CONTAINERS)
            .filter_map(|number| self.corten.inspect(&format!("c{number}"))["State"]["Pid"].as_i64())
            .filter_map(|pid| testkit::leftovers::parent(i32::try_from(pid).ok()?))
            .collect();
        let ours = per_container(&shims);
        let private = shims.iter().map(|pid| memory::private(*pid)).sum::<f64>() / CONTAINERS as f64;
        let rows = vec![
            self.alternate("`exec CONTAINER true`", &["exec", "c0", "true"], Some(1.0 / 8.0))?,
            self.alternate("`ps` with 20 containers", &["ps"], Some(1.0 / 6.0))?,
            Row {
                job: "memory per running container with a published port".to_owned(),
                unit: Unit::Memory,
                peer: "Docker",
                ours,
                theirs,
                goal: Some(0.6 / 4.4),
            },
            Row {
                job: "private memory of a running container's shim".to_owned(),
                unit: Unit::Memory,
                peer: "600 kB",
                ours: Samples::one(private),
                theirs: Samples::one(6e5),
                goal: Some(1.0),
            },
        ];
        Ok(rows)
    }

    /// One bundle, two runtimes. Docker's first container lends its seccomp profile.
    fn bare_runtime(&self) -> Result<Row, Box<dyn Error>> {
        let id = self.docker.run(&["inspect", "--format", "{{.Id}}", "c0"])?;
        let directory = tempfile::Builder::new().prefix("corten-bench-").tempdir()?;
        bundle::write(directory.path(), bundle::seccomp_of_docker(&self.docker.path().join("exec"), &id)?)?;
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for round in 0..=ROUNDS * 2 {
            let mut corten = command(binary());
            corten.args(["oci", "--root"]).arg(directory.path().join("corten")).args(["run", "bench"]);
            corten.current_dir(directory.path());
            let time = timed_inside(self.corten.sandbox(), corten)?;
            let mut runc = command("runc");
            runc.arg("--root").arg(directory.path().join("runc")).args(["run", "bench"]).current_dir(directory.path());
            let other = timed_inside(self.docker.sandbox(), runc)?;
            if round > 0 {
                ours.push(time);
                theirs.push(other);
            }
        }
        let job = "`oci run` of a bundle whose command is `/bin/true`".to_owned();
        Ok(Row { job, unit: Unit::Time, peer: "runc", ours, theirs, goal: Some(1.0 / 3.0) })
    }

    /// Four layers from a registry on this machine, each time from nothing.
    fn pull(&self) -> Result<Row, Box<dyn Error>> {
        let layout = image::four_layers();
        let ours_registry = Registry::start(&self.corten);
        let name = ours_registry.push(&layout, "four");
        let theirs_registry = Registry::serve(self.docker.sandbox(), &self.docker.path().join("registry"));
        theirs_registry.push(&layout, "four");
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for _ in 0..3 {
            ours.push(self.corten_takes(&["pull", "-q", &name])?);
            self.corten.ok(&["rmi", &name]);
            theirs.push(self.docker_takes(&["pull", "-q", &name])?);
            self.docker.run(&["rmi", &name])?;
        }
        let job = "`pull` of 4 gzip layers from this machine's registry".to_owned();
        Ok(Row { job, unit: Unit::Time, peer: "Docker", ours, theirs, goal: Some(1.0 / 6.0) })
    }
}

/// How long a command takes inside a sandbox, in seconds. It must succeed.
fn timed_inside(sandbox: &Sandbox, mut command: Command) -> Result<f64, Box<dyn Error>> {
    sandbox.run(move || timed(&mut command).map_err(|error| error.to_string())).map_err(Into::into)
}

fn timed(command: &mut Command) -> Result<f64, Box<dyn Error>> {
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
