// SPDX-License-Identifier: Apache-2.0
//! The test lanes.
//!
//! - **pure**: unit tests; no root, seconds.
//! - **host**: real namespaces, cgroups, overlay and nf_tables on this machine, and the end-to-end tests.
//! - **peers**: end-to-end tests against real programs of the distribution: skopeo, docker-registry, apt, runc, umoci, buildah.
//! - **vm**: the release binary in QEMU with a pure cgroup v2 hierarchy.
//!
//! A lane that cannot run fails; none is skipped. The product is compiled in the release profile, the tests in the bench
//! profile (Cargo.toml says why), so that dependencies are compiled once for both.

use std::str::FromStr;

use crate::summary::{Summary, Tally};
use crate::{Outcome, cargo, packages, tidy, vm};

/// What the tests are compiled with.
const PROFILE: &str = "--profile=bench";

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Unit tests.
    Pure,
    /// Tests on this machine's kernel.
    Host,
    /// Tests against other programs.
    Peers,
    /// Tests in a virtual machine.
    Vm,
    /// Style, and all of the above.
    All,
}

impl FromStr for Lane {
    type Err = String;

    fn from_str(text: &str) -> Result<Lane, String> {
        match text {
            "pure" => Ok(Lane::Pure),
            "host" => Ok(Lane::Host),
            "peers" => Ok(Lane::Peers),
            "vm" => Ok(Lane::Vm),
            "all" => Ok(Lane::All),
            other => Err(format!("no test lane {other:?}: there are pure, host, peers, vm and all")),
        }
    }
}

/// Runs a lane, or everything.
pub(crate) fn test(lane: Lane) -> Outcome {
    let mut summary = Summary::default();
    let wanted = |one: Lane| lane == one || lane == Lane::All;
    if lane != Lane::Pure && !summary.stage("packages", |_| needs_of_host_tests()) {
        return summary.close();
    }
    if lane == Lane::All {
        summary.stage("fmt", |_| cargo::run(&["fmt", "--all", "--check"]));
        summary.stage("clippy", |_| clippy());
        summary.stage("tidy", |_| tidy::run());
    }
    if lane != Lane::Pure && !summary.stage("build", |_| build()) {
        return summary.close();
    }
    if wanted(Lane::Pure) {
        summary.stage("pure", pure);
    }
    if wanted(Lane::Host) {
        summary.stage("host", host);
    }
    match lane {
        Lane::Peers => drop(summary.stage("peers", peers)),
        Lane::Vm => drop(summary.stage("vm", vm::test)),
        Lane::All => peers_beside_vm(&mut summary),
        Lane::Pure | Lane::Host => {}
    }
    summary.close()
}

/// Both at once: the machines need one processor, the peers wait most of their time. The time of the lane that is named last is
/// what the other left over.
fn peers_beside_vm(summary: &mut Summary) {
    std::thread::scope(|scope| {
        let machines = scope.spawn(|| {
            let mut tally = Tally::default();
            let outcome = vm::test(&mut tally).map_err(|error| error.to_string());
            (outcome, tally)
        });
        summary.stage("peers", peers);
        summary.stage("vm", |tally| {
            let (outcome, counted) = machines.join().map_err(|_| "the lane panicked")?;
            tally.add(&counted);
            Ok(outcome?)
        });
    });
}

fn needs_of_host_tests() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Err("these tests make namespaces, mounts and cgroups: run them as root".into());
    }
    packages::ensure()
}

/// In the tests' profile, to share the build scripts' and macros' artefacts with the build that follows.
fn clippy() -> Outcome {
    cargo::run(&["clippy", PROFILE, "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn build() -> Outcome {
    cargo::run(&["test", PROFILE, "--locked", "--workspace", "--no-run"])?;
    cargo::build_release()
}

fn pure(tally: &mut Tally) -> Outcome {
    cargo_test(tally, &["--workspace", "--lib", "--bins"])
}

fn host(tally: &mut Tally) -> Outcome {
    cargo_test(tally, &["--workspace", "--exclude", "end-to-end", "--test", "*"])?;
    let tests = end_to_end_tests(|name| !name.starts_with("peers_"))?;
    cargo_test(tally, &tests)
}

fn peers(tally: &mut Tally) -> Outcome {
    let tests = end_to_end_tests(|name| name.starts_with("peers_"))?;
    cargo_test(tally, &tests)
}

fn cargo_test<S: AsRef<str>>(tally: &mut Tally, selection: &[S]) -> Outcome {
    let mut arguments = vec!["test", PROFILE, "--locked", "--no-fail-fast"];
    arguments.extend(selection.iter().map(AsRef::as_ref));
    cargo::run_tests(&arguments, tally)
}

/// `--test NAME` for each file in `tests/tests/` that `choose` wants.
fn end_to_end_tests(choose: impl Fn(&str) -> bool) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut selection = vec!["--package".to_owned(), "end-to-end".to_owned()];
    let mut names = Vec::new();
    for entry in std::fs::read_dir(cargo::root().join("tests/tests"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_some_and(|extension| extension == "rs") && choose(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err("tests/tests has no test for this lane".into());
    }
    names.sort();
    for name in names {
        selection.extend(["--test".to_owned(), name]);
    }
    Ok(selection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_nobody_knows_is_refused_by_name() {
        assert!("quick".parse::<Lane>().unwrap_err().contains("\"quick\""));
        assert_eq!("vm".parse::<Lane>(), Ok(Lane::Vm));
    }
}
