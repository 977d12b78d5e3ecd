// SPDX-License-Identifier: Apache-2.0
//! What is measured of the OCI runtime alone: one bundle whose command is `/bin/true`, with all namespaces that `runc spec`
//! asks for, Docker's filter, and cgroups with limits.
//!
//! Everyone's state is below `/run`, a tmpfs, where it is by default.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::corten::binary;
use testkit::process::command;
use testkit::trace::{Counts, count, peak};

use super::bundle;
use super::floor::Floor;
use super::sample::{Row, Samples, Unit};

/// How often each job is done on each side.
const ROUNDS: usize = 40;
/// Long enough for the processors to sleep and for the kernel's grace periods to be over: what a user at a prompt feels.
const IDLE: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_secs(10);

/// The table's rows, and what is said below it.
pub(super) fn measure() -> Result<(Vec<Row>, String), Box<dyn Error>> {
    let directory = tempfile::Builder::new().prefix("corten-bench-").tempdir_in("/run")?;
    let bench = Bench::prepare(directory.path())?;
    let (runtimes, mut notes) = bench.peers()?;
    let mut rows = Vec::new();
    for (pause, when) in [(Duration::ZERO, "back to back"), (IDLE, "after 60 ms of rest")] {
        for job in [Job::Run, Job::Steps] {
            rows.extend(bench.compare(job, &runtimes, pause, when)?);
        }
    }
    let ours = bench.memory_of_create("corten")?;
    let theirs = bench.memory_of_create("runc")?;
    let job = "peak memory of `create`".to_owned();
    let goal = Samples::one(3e6);
    rows.push(Row {
        job: job.clone(),
        unit: Unit::Memory,
        peer: "3 MB",
        ours: ours.clone(),
        theirs: goal,
        goal: Some(1.0),
    });
    rows.push(Row { job, unit: Unit::Memory, peer: "runc", ours, theirs, goal: None });
    let run = count(|| bench.runtime("corten", &["run", "counted"]))?;
    let floor = count(|| bench.floor.run(&bench.rootfs))?;
    notes.insert_str(0, &said(&run, &floor));
    Ok((rows, notes))
}

/// What is done once.
#[derive(Debug, Clone, Copy)]
enum Job {
    Run,
    /// `create`, `start`, and when its process has ended, `delete`.
    Steps,
}

struct Bench {
    directory: PathBuf,
    rootfs: PathBuf,
    floor: Floor,
}

impl Bench {
    fn prepare(directory: &Path) -> Result<Bench, Box<dyn Error>> {
        let profile = bundle::with_default_profile(directory)?;
        let floor = Floor::build(directory, &profile)?;
        Ok(Bench { directory: directory.to_owned(), rootfs: directory.join("rootfs"), floor })
    }

    /// The runtimes that make this bundle's container here, runc first; and a line about each that does not.
    fn peers(&self) -> Result<(Vec<&'static str>, String), Box<dyn Error>> {
        let (mut able, mut notes) = (vec!["runc"], String::new());
        for name in ["crun", "youki"] {
            let trial = self.runtime(name, &["run", "trial"]).stdin(Stdio::null()).output();
            match trial {
                Ok(output) if output.status.success() => able.push(name),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
                    writeln!(notes, "\n`{name}` does not run on this host, and is not compared: {said}")?;
                }
                Err(error) => writeln!(notes, "\n`{name}` is not compared: {error}")?,
            }
        }
        Ok((able, notes))
    }

    /// A runtime's command on this bundle.
    fn runtime(&self, name: &str, arguments: &[&str]) -> Command {
        let mut runtime = if name == "corten" { command(binary()) } else { command(name) };
        if name == "corten" {
            runtime.arg("oci");
        }
        runtime.arg("--root").arg(self.directory.join("state").join(name)).args(arguments);
        runtime.current_dir(&self.directory);
        runtime
    }

    /// Corten beside each of the others and beside the floor, in turns.
    fn compare(
        &self,
        job: Job,
        peers: &[&'static str],
        pause: Duration,
        when: &str,
    ) -> Result<Vec<Row>, Box<dyn Error>> {
        let mut ours = Samples::default();
        let mut theirs: Vec<(&'static str, Samples)> = peers.iter().map(|name| (*name, Samples::default())).collect();
        theirs.push(("floor", Samples::default()));
        // The first round fills caches; nobody counts it.
        for round in 0..=ROUNDS {
            let time = self.once(job, "corten", pause)?;
            if round > 0 {
                ours.push(time);
            }
            for (name, samples) in &mut theirs {
                let time = self.once(job, name, pause)?;
                if round > 0 {
                    samples.push(time);
                }
            }
        }
        let words = match job {
            Job::Run => "`run`",
            Job::Steps => "`create`, `start`, `delete`",
        };
        let row = |(peer, theirs): (&'static str, Samples)| Row {
            job: format!("{words}, {when}"),
            unit: Unit::Time,
            peer,
            ours: ours.clone(),
            theirs,
            goal: match peer {
                "runc" => Some(1.0 / 6.0),
                "floor" => Some(1.5),
                _ => None,
            },
        };
        Ok(theirs.into_iter().map(row).collect())
    }

    /// One container's life: how long we waited for commands, in seconds.
    fn once(&self, job: Job, name: &str, pause: Duration) -> Result<f64, Box<dyn Error>> {
        let timed = |what: Command| {
            std::thread::sleep(pause);
            timed(what)
        };
        let state = self.directory.join("floor-state");
        match (job, name) {
            (Job::Run, "floor") => timed(self.floor.run(&self.rootfs)),
            (Job::Run, name) => timed(self.runtime(name, &["run", "bench"])),
            (Job::Steps, "floor") => {
                let mut time = timed(self.floor.create(&self.rootfs, &state))?;
                let pid = std::fs::read_to_string(state.join("state"))?.parse()?;
                time += timed(self.floor.verb("start", &state))?;
                await_end(pid)?;
                Ok(time + timed(self.floor.verb("delete", &state))?)
            }
            (Job::Steps, name) => {
                let pid_file = self.directory.join("pid");
                let words = ["create", "--pid-file", pid_file.to_str().unwrap_or_default(), "bench"];
                let mut time = timed(self.runtime(name, &words))?;
                let pid = std::fs::read_to_string(&pid_file)?.trim().parse()?;
                time += timed(self.runtime(name, &["start", "bench"]))?;
                await_end(pid)?;
                Ok(time + timed(self.runtime(name, &["delete", "bench"]))?)
            }
        }
    }

    fn memory_of_create(&self, name: &str) -> Result<Samples, Box<dyn Error>> {
        let peak = peak(&self.runtime(name, &["create", "counted"]))?;
        timed(self.runtime(name, &["delete", "--force", "counted"]))?;
        Ok(Samples::one(peak as f64))
    }
}

/// What was counted, in words.
fn said(run: &Counts, floor: &Counts) -> String {
    let list = |counts: &Counts| {
        let mut calls: Vec<(u64, u64)> = counts.calls.iter().map(|(number, times)| (*times, *number)).collect();
        calls.sort_unstable_by(|left, right| right.cmp(left));
        let name = |number| seccomp::call_name(number).map_or_else(|| format!("call {number}"), str::to_owned);
        calls.iter().map(|(times, number)| format!("{} {times}", name(*number))).collect::<Vec<_>>().join(", ")
    };
    format!(
        "\n## What a `run` is made of\n\nCounted by tracing one `run`, the launcher and the container's process until it \
         executes `/bin/true`.\n\n| | Corten | floor |\n|---|---|---|\n| system calls | {} | {} |\n| instructions in user \
         space | {} | {} |\n\nCorten's system calls: {}.\n",
        run.total_calls(),
        floor.total_calls(),
        run.instructions,
        floor.instructions,
        list(run)
    )
}

fn timed(mut what: Command) -> Result<f64, Box<dyn Error>> {
    what.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = what.status()?;
    let took = begun.elapsed().as_secs_f64();
    if status.success() { Ok(took) } else { Err(format!("{what:?}: {status}").into()) }
}

/// Waits until a container's process is gone, or a zombie that nobody here can collect.
fn await_end(pid: i32) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("process {pid} does not end").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
