// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask`: build, test, bench and tidy.
//!
//! - `build`: the release binary.
//! - `test [pure|host|peers|vm|all]`: installs what the tests need from the distribution's packages, then checks style
//!   and runs the lanes.
//! - `bench [run|registry|runtime]`: measures side by side with a peer, and rewrites that page of `docs/benchmarks/`.
//!   Never part of a test.
//! - `tidy`: the repository's own rules, as tests.
//! - `order`: writes anew which functions the linker lays side by side.
//! - `boot`: the vm lane with the release binary as it is, without building: for those who work on it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line for developers")]

mod bench;
mod cargo;
mod lanes;
mod order;
mod packages;
mod summary;
mod tidy;
mod vm;

use std::process::ExitCode;

/// What a task answers: nothing, or why it failed.
type Outcome = Result<(), Box<dyn std::error::Error>>;

const USAGE: &str =
    "usage: cargo xtask build | test [pure|host|peers|vm|all] | bench [run|registry|runtime] | tidy | order | boot";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["build"] => cargo::build_release(),
        ["test"] => lanes::test(lanes::Lane::All),
        ["test", lane] => lane.parse().map_err(Into::into).and_then(lanes::test),
        ["bench"] => bench::run("run"),
        ["bench", group] => bench::run(group),
        ["tidy"] => tidy::run(),
        ["order"] => order::run(),
        ["boot"] => vm::test(&mut summary::Tally::default()),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
