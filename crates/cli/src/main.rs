// SPDX-License-Identifier: Apache-2.0
//! `corten`, one binary with several hats. Which one is decided here, before anything is set up: the zygote, the OCI
//! runtime and `corten/hello` pay for none of the command line's parts.

mod cli;
mod commands;
mod detach_keys;
mod failure;
mod flags;
mod printer;
mod signals;
mod stream;
mod template;
mod terminal;
mod trace;

use std::process::ExitCode;

fn main() -> ExitCode {
    let start_ns = trace::now_ns();
    let first = std::env::args_os().nth(1);
    match first.as_ref().and_then(|word| word.to_str()) {
        Some("zygote") => ExitCode::from(shim::zygote_main()),
        Some("--version" | "-V") => {
            printer::line(concat!("corten ", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        _ => cli::main(std::env::args_os(), start_ns),
    }
}
