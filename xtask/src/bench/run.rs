// SPDX-License-Identifier: Apache-2.0
//! What is measured for running containers.

use std::error::Error;

use testkit::corten::binary;
use testkit::process::command;

use super::pair::{Pair, timed, timed_inside};
use super::sample::{Row, Samples, Unit};
use super::{bundle, memory};

type Rows = Result<Vec<Row>, Box<dyn Error>>;

/// How often each command is run on each side.
const ROUNDS: usize = 20;
const CONTAINERS: usize = 20;

/// Everything, in the order of the table.
pub(super) fn measure() -> Rows {
    let mut rows = vec![start_of_a_program()?];
    let pair = Pair::start()?;
    let tar = pair.corten.path().join("busybox.tar");
    pair.docker.run(&["import", &tar.to_string_lossy(), "busybox"])?;
    rows.push(pair.idle_memory());
    rows.push(pair.alternate(
        "`run --rm IMAGE true`, bridge",
        ROUNDS,
        &["run", "--rm", "busybox", "true"],
        Some(0.1),
    )?);
    let none = ["run", "--rm", "--network", "none", "busybox", "true"];
    rows.push(pair.alternate("`run --rm --network none IMAGE true`", ROUNDS, &none, Some(1.0 / 40.0))?);
    rows.extend(pair.with_containers()?);
    rows.push(pair.bare_runtime()?);
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

impl Pair {
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
            self.alternate("`exec CONTAINER true`", ROUNDS, &["exec", "c0", "true"], Some(1.0 / 8.0))?,
            self.alternate("`ps` with 20 containers", ROUNDS, &["ps"], Some(1.0 / 6.0))?,
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
        bundle::write(directory.path(), bundle::seccomp_of_docker(&self.docker.exec_root(), &id)?)?;
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
}
