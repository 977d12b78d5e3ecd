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
    if std::env::args_os().nth(1).is_some_and(|first| first == "--version" || first == "-V") {
        printer::line(concat!("corten ", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    cli::main(std::env::args_os(), start_ns)
}
