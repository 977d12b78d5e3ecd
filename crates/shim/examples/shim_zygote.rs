// SPDX-License-Identifier: Apache-2.0
//! The smallest program that has shims, for the tests: they re-execute it as the zygote, and kill it as the daemon.
//!
//! - `shim_zygote zygote`: what `corten zygote` is.
//! - `shim_zygote daemon`: reads one request as JSON from standard input, starts its shim, and waits to be killed.

use std::process::ExitCode;

use shim::{ShimFds, ShimRequest, Zygote, zygote_main};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("zygote") => ExitCode::from(zygote_main()),
        Some("daemon") => match daemon() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        _ => ExitCode::from(2),
    }
}

fn daemon() -> Result<(), Box<dyn std::error::Error>> {
    let request: ShimRequest = serde_json::from_reader(std::io::stdin().lock())?;
    let zygote = Zygote::start()?;
    let _shim = zygote.spawn(None, &request, ShimFds::default())?;
    loop {
        std::thread::park();
    }
}
