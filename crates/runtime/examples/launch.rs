// SPDX-License-Identifier: Apache-2.0
//! Launches a bundle's container as a shim does: through the library, with a detached mount as its root, and dying
//! with this process. `launch BUNDLE [--trace] [--filters]` prints the pid, and with `--trace` each step with its time
//! since the first in microseconds, to standard error; its exit code is the container's. With `--filters`, compiled
//! filters are kept in the bundle.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{WaitId, WaitIdOptions, waitid};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            writeln!(std::io::stderr(), "{error}").unwrap_or_default();
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<u8, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let exposed = arguments.iter().any(|argument| argument == "--exposed");
    if !exposed {
        runtime::protect::reexec()?;
    }
    let bundle = PathBuf::from(arguments.get(1).ok_or("a bundle's directory is missing")?);
    let filters = arguments.iter().any(|argument| argument == "--filters").then(|| bundle.join("filters"));
    let trace = arguments.iter().any(|argument| argument == "--trace");
    let spec = serde_json::from_slice(&std::fs::read(bundle.join("config.json"))?)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let rootfs = open_tree(rustix::fs::CWD, bundle.join("rootfs"), flags)?;
    let id = format!("launch-{}", std::process::id()).parse()?;
    let launched = runtime::launch(runtime::LaunchRequest {
        id: &id,
        spec: &spec,
        bundle: &bundle,
        rootfs: Some(rootfs.as_fd()),
        netns: None,
        cgroup: None,
        filter: None,
        stdio: runtime::Stdio::Inherit,
        start: runtime::Start::Now,
        init: false,
        filters: filters.as_deref(),
        trace,
    })?;
    let mut stderr = std::io::stderr();
    writeln!(stderr, "pid {}", launched.pid)?;
    for warning in &launched.warnings {
        writeln!(stderr, "warning: {warning}")?;
    }
    let first = launched.steps.first().map_or(0, |step| step.at_ns);
    for step in &launched.steps {
        writeln!(stderr, "{:>8} {}", (step.at_ns - first) / 1000, step.name)?;
    }
    let status = waitid(WaitId::PidFd(launched.pidfd.as_fd()), WaitIdOptions::EXITED)?;
    launched.cgroup.remove()?;
    Ok(status.and_then(|status| status.exit_status()).and_then(|code| u8::try_from(code).ok()).unwrap_or(128))
}
