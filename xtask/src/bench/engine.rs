// SPDX-License-Identifier: Apache-2.0
//! What is measured for the engine under a crowd, and under a container that talks much.
//!
//! Docker needs a quarter of a second and more for each container, so that its crowd is smaller; what is compared is the
//! time for one of each.

use std::error::Error;

use super::memory;
use super::pair::Pair;
use super::sample::{Row, Samples, Unit};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How many containers Corten runs at once.
const CROWD: usize = 1000;
/// How many Docker runs at once.
const DOCKERS_CROWD: usize = 60;
/// So many at the beginning are compared with so many at the end.
const PART: usize = 100;
/// What `ps` of them all may take, in seconds.
const LIST: f64 = 0.03;
/// What is printed: so many lines of a hundred bytes.
const LINES: usize = 5_000_000;
const ROUNDS: usize = 3;

/// Everything, in the order of the table.
pub(super) fn measure() -> Result<Vec<Row>> {
    let pair = Pair::start()?;
    let tar = pair.corten.path().join("busybox.tar");
    pair.docker.run(&["import", &tar.to_string_lossy(), "busybox"])?;
    let mut rows = pair.talk()?;
    rows.extend(pair.crowd()?);
    Ok(rows)
}

/// The time of each of `count` commands, the number in the place of `N`.
fn each(count: usize, words: &[&str], mut takes: impl FnMut(&[&str]) -> Result<f64>) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("c{number}");
        let words: Vec<&str> = words.iter().map(|word| if *word == "N" { name.as_str() } else { *word }).collect();
        times.push(takes(&words)?);
    }
    Ok(times)
}

fn samples(times: &[f64]) -> Samples {
    let mut samples = Samples::default();
    times.iter().for_each(|time| samples.push(*time));
    samples
}

impl Pair {
    /// A thousand containers come, are looked at, and go.
    fn crowd(&self) -> Result<Vec<Row>> {
        let start = ["run", "-d", "--name", "N", "busybox", "sleep", "3600"];
        let stop = ["stop", "-t", "0", "N"];
        let takes = |words: &[&str]| self.corten_takes(words);
        let started = each(CROWD, &start, takes)?;
        let theirs = each(DOCKERS_CROWD, &start, |words| self.docker_takes(words))?;
        let mut rows = vec![
            time(&format!("`run -d`, each of {CROWD} (Docker: of {DOCKERS_CROWD})"), &started, "Docker", &theirs, 0.1),
            flat("`run -d`", &started),
        ];
        let mut list = |job: &str, words: &[&str], limit: (&'static str, f64), rounds| -> Result<()> {
            let times: Result<Vec<f64>> = (0..rounds).map(|_| self.corten_takes(words)).collect();
            rows.push(time(job, &times?, limit.0, &[limit.1], 1.0));
            Ok(())
        };
        list(&format!("`ps` with {CROWD} containers"), &["ps"], ("30 ms", LIST), 20)?;
        list(&format!("`ps -q` with {CROWD} containers"), &["ps", "-q"], ("30 ms", LIST), 20)?;
        let ours: Result<Vec<f64>> = (0..ROUNDS).map(|_| self.corten_takes(&["stats", "--no-stream"])).collect();
        let watched: Result<Vec<f64>> = (0..ROUNDS).map(|_| self.docker_takes(&["stats", "--no-stream"])).collect();
        rows.push(Row {
            job: format!("`stats --no-stream` of {CROWD} (Docker: of {DOCKERS_CROWD})"),
            unit: Unit::Time,
            peer: "Docker",
            ours: samples(&ours?),
            theirs: samples(&watched?),
            goal: None,
        });
        let resident = memory::proportional(self.corten.pid());
        rows.push(Row {
            job: format!("memory of the daemon with {CROWD} containers"),
            unit: Unit::Memory,
            peer: "25 MB",
            ours: Samples::one(resident),
            theirs: Samples::one(25e6),
            goal: None,
        });
        let stopped = each(CROWD, &stop, takes)?;
        let theirs = each(DOCKERS_CROWD, &stop, |words| self.docker_takes(words))?;
        rows.push(time(
            &format!("`stop -t 0`, each of {CROWD} (Docker: of {DOCKERS_CROWD})"),
            &stopped,
            "Docker",
            &theirs,
            0.25,
        ));
        rows.push(flat("`stop`", &stopped));
        Ok(rows)
    }

    /// What it costs a container that prints 500 MB that its output is kept: beside the same without a log.
    fn talk(&self) -> Result<Vec<Row>> {
        let script = format!("yes {} | head -n {LINES}", "x".repeat(99));
        let kept = ["run", "-d", "--name", "talk", "busybox", "sh", "-c", &script];
        let lost = ["run", "-d", "--name", "talk", "--log-driver", "none", "busybox", "sh", "-c", &script];
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        let [mut ours_alone, mut theirs_alone] = [Samples::default(), Samples::default()];
        for _ in 0..ROUNDS {
            // Removed by a command of its own, whose time is nobody's: Docker's `--rm` is done after `wait` has answered.
            let corten = |words: &[&str]| {
                let time = self.corten_takes(words)? + self.corten_takes(&["wait", "talk"])?;
                self.corten_takes(&["rm", "talk"]).map(|_| time)
            };
            let docker = |words: &[&str]| {
                let time = self.docker_takes(words)? + self.docker_takes(&["wait", "talk"])?;
                self.docker_takes(&["rm", "talk"]).map(|_| time)
            };
            let [with, without] = both(corten, &kept, &lost)?;
            ours.push(with - without);
            ours_alone.push(with);
            let [with, without] = both(docker, &kept, &lost)?;
            theirs.push(with - without);
            theirs_alone.push(with);
        }
        let row = |job: &str, ours, theirs, goal| Row {
            job: job.to_owned(),
            unit: Unit::Time,
            peer: "Docker, json-file",
            ours,
            theirs,
            goal,
        };
        Ok(vec![
            row("a container prints 500 MB in lines of 100 bytes", ours_alone, theirs_alone, None),
            row("what of that the log costs", ours, theirs, Some(0.5)),
        ])
    }
}

fn both(takes: impl Fn(&[&str]) -> Result<f64>, one: &[&str], other: &[&str]) -> Result<[f64; 2]> {
    Ok([takes(one)?, takes(other)?])
}

fn time(job: &str, ours: &[f64], peer: &'static str, theirs: &[f64], goal: f64) -> Row {
    let (ours, theirs) = (samples(ours), samples(theirs));
    Row { job: job.to_owned(), unit: Unit::Time, peer, ours, theirs, goal: Some(goal) }
}

/// The last of a crowd beside the first.
fn flat(job: &str, times: &[f64]) -> Row {
    let job = format!("{job}: the last {PART} beside the first {PART}");
    let (first, last) = (&times[..PART.min(times.len())], &times[times.len().saturating_sub(PART)..]);
    Row { job, unit: Unit::Time, peer: "the first", ours: samples(last), theirs: samples(first), goal: Some(1.25) }
}
