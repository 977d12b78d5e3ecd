// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench`: Corten beside its peers, in one call, alternating, on this machine.
//!
//! - `run`: the engine's way of running containers, beside Docker.
//! - `engine`: a thousand containers, and one that talks much, beside Docker.
//! - `images`: pull, push, save and load, beside Docker.
//! - `registry`: the registry server, beside Debian's docker-registry.
//! - `runtime`: the OCI runtime alone, beside runc (crun and youki where they run) and beside the kernel's own floor.
//!
//! Numbers of a virtual machine are noisy: what is compared is taken in turns, and what is read is the ratio of medians.

mod bundle;
mod engine;
mod floor;
mod image;
mod images;
mod memory;
mod pair;
mod registry;
mod report;
mod run;
mod runtime;
mod sample;

use crate::{Outcome, cargo, packages};

/// Makes the bundle that the OCI runtime is measured with.
pub(crate) fn bundle(directory: &std::path::Path) -> Outcome {
    bundle::with_default_profile(directory).map(drop)
}

/// Builds the release binary, measures a group, and rewrites its page below `docs/benchmarks/`.
pub(crate) fn run(group: &str) -> Outcome {
    packages::ensure()?;
    cargo::build_release()?;
    let page = match group {
        "run" => report::Page { group: "run", rows: run::measure()?, notes: String::new() },
        "engine" => report::Page { group: "engine", rows: engine::measure()?, notes: String::new() },
        "images" => report::Page { group: "images", rows: images::measure()?, notes: String::new() },
        "registry" => report::Page { group: "registry", rows: registry::measure()?, notes: String::new() },
        "runtime" => {
            let (rows, notes) = runtime::measure()?;
            report::Page { group: "runtime", rows, notes }
        }
        other => {
            return Err(format!("no benchmark {other:?}: there are run, engine, images, registry and runtime").into());
        }
    };
    let text = page.markdown(&report::Machine::here()?);
    print!("{text}");
    let directory = cargo::root().join("docs/benchmarks");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{group}.md"));
    std::fs::write(&path, text)?;
    println!("written to {}", path.display());
    Ok(())
}
