// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench run`: Corten beside Docker and runc, in one call, alternating, on this machine.
//!
//! Numbers of a virtual machine are noisy: what is compared is taken in turns, and what is read is the ratio of medians.

mod bundle;
mod image;
mod memory;
mod report;
mod run;
mod sample;

use crate::{Outcome, cargo, packages};

/// Builds the release binary, measures, and rewrites `docs/benchmarks.md`.
pub(crate) fn run() -> Outcome {
    packages::ensure()?;
    cargo::build_release()?;
    let rows = run::measure()?;
    let text = report::markdown(&report::Machine::here()?, &rows);
    print!("{text}");
    let path = cargo::root().join("docs/benchmarks.md");
    std::fs::create_dir_all(cargo::root().join("docs"))?;
    std::fs::write(&path, text)?;
    println!("written to {}", path.display());
    Ok(())
}
