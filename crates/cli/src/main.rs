// SPDX-License-Identifier: Apache-2.0
//! `corten`, one binary with several hats. Which one is decided here, before anything is set up: the zygote, the OCI
//! runtime and `corten/hello` pay for none of the command line's parts.

#[macro_use]
mod group;

mod archive_file;
mod cli;
mod commands;
mod copying;
mod credentials;
#[cfg(test)]
mod documented;
mod environment;
mod examples;
mod failure;
mod flags;
mod hello;
mod help;
mod platform;
mod printer;
mod process;
mod program;
mod pruning;
mod signals;
mod signing;
mod stream;
mod template;
mod terminal;
mod trace;
mod user_config;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let start_ns = trace::now_ns();
    let called = std::env::args_os().next();
    if called.as_deref().is_some_and(is_oci_runtime) {
        return ExitCode::from(runtime::oci_cli::main(std::env::args_os().skip(1)));
    }
    if called.as_deref().is_some_and(is_init) {
        return ExitCode::from(runtime::init::main());
    }
    program::called(called.as_deref());
    let first = std::env::args_os().nth(1);
    match first.as_deref().and_then(OsStr::to_str) {
        Some("zygote") => ExitCode::from(shim::zygote_main()),
        Some("oci") => ExitCode::from(runtime::oci_cli::main(std::env::args_os().skip(2))),
        Some("hello") => hello::main(std::env::args_os().skip(2).map(lossy), start_ns),
        Some("--version" | "-V" | "-v") => {
            printer::line(&program::version_line());
            ExitCode::SUCCESS
        }
        _ => cli::main(std::env::args_os(), start_ns),
    }
}

/// Whether this executable was called by the name of an OCI runtime.
fn is_oci_runtime(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "runc" || name == "corten-oci")
}

/// Whether this executable was called as a container's first process.
fn is_init(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == runtime::init::NAME)
}

/// What is no text is no argument that `hello` knows.
fn lossy(argument: OsString) -> String {
    argument.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_goes_by_three_names() {
        assert!(is_oci_runtime(OsStr::new("/usr/sbin/runc")) && is_oci_runtime(OsStr::new("corten-oci")));
        assert!(!is_oci_runtime(OsStr::new("corten")) && !is_oci_runtime(OsStr::new("/runc/corten")));
    }
}
