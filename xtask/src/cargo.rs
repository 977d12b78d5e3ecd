// SPDX-License-Identifier: Apache-2.0
//! Cargo, run from the workspace's root.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::summary::Tally;

/// The workspace's root directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo puts the release artefacts: beside this very program's profile directory.
pub(crate) fn release_directory() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("the path of xtask has no target directory")?;
    Ok(target.join("release"))
}

/// Builds the release binary.
pub(crate) fn build_release() -> Outcome {
    run(&["build", "--release", "--locked", "--package", "corten"])?;
    let binary = release_directory()?.join("corten");
    println!("built {}", binary.display());
    Ok(())
}

/// A cargo command with its output on the terminal; an error when it fails.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let status = command().args(arguments).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed: {status}", arguments.join(" ")).into()) }
}

/// A cargo command with its output on the terminal and its tests counted; an error when it fails, or runs no test.
pub(crate) fn run_tests(arguments: &[&str], tally: &mut Tally) -> Outcome {
    let mut child = command().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let before = tally.tests();
    let output = child.stdout.take().ok_or("no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        tally.read(&line);
    }
    let status = child.wait()?;
    match status.success() {
        true if tally.tests() == before => Err(format!("cargo {} ran no test", arguments.join(" ")).into()),
        true => Ok(()),
        false => Err(format!("cargo {} failed: {status}", arguments.join(" ")).into()),
    }
}

/// What a cargo command prints on its standard output; an error when it fails.
pub(crate) fn capture(arguments: &[&str]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let output = command().args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("cargo {} failed: {}", arguments.join(" "), output.status).into())
    }
}

fn command() -> Command {
    let mut cargo = testkit::process::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    // What cargo told this program about itself would make build scripts believe that something has changed.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    cargo
}
