// SPDX-License-Identifier: Apache-2.0
//! What a process of this executable sets up once: its log, and the event loop that its commands run on.

use std::io;

use errors::Kind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;
use crate::printer;

/// Logs to stderr from now on what is of this level or above, in colour where it is a terminal. Called once.
pub(crate) fn log_to_stderr(level: tracing::Level) {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(printer::has_colours(&io::stderr()))
        .with_target(false)
        .with_max_level(level)
        .init();
}

/// An event loop of as many threads as there are processors: for servers and copies.
pub(crate) fn event_loop() -> Result<Runtime, Failure> {
    made(Builder::new_multi_thread().enable_all().build())
}

/// An event loop of the calling thread alone: for a command that asks the daemon, and waits.
pub(crate) fn small_event_loop() -> Result<Runtime, Failure> {
    made(Builder::new_current_thread().enable_all().build())
}

/// Lets this process have as many descriptors as it may, and gives their number: the usual 1024 are for programs that use
/// select(2).
pub(crate) fn raise_descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        limit = raised;
    }
    // Nothing there means no limit (getrlimit(2)).
    limit.current.unwrap_or(u64::MAX)
}

fn made(result: io::Result<Runtime>) -> Result<Runtime, Failure> {
    result.map_err(|error| Failure::new(Kind::Internal, format!("cannot make the event loop: {error}")))
}
