// SPDX-License-Identifier: Apache-2.0
//! `corten attach`: connect the terminal to a running container.

use api_types::{AttachRequest, Streams};

use crate::cli::Context;
use crate::commands::run::{Foreground, stay};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::trace::Trace;
use crate::user_config;
use api_types::detach_keys::DetachKeys;

/// Attach this terminal's input, output and errors to a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keys that detach from the container [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Do not attach stdin
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the command
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Name or id
    container: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let keys = user_config::detach_keys(args.detach_keys.as_ref())?;
    let config = context.client.inspect_container(&args.container).await?.config.unwrap_or_default();
    let tty = config.tty.unwrap_or(false);
    let stdin = !args.no_stdin && config.open_stdin.unwrap_or(false);
    let request = AttachRequest { streams: Streams { stdin, stdout: true, stderr: true }, start: false };
    // With a terminal Ctrl-C is a key like any other, and a signal is for this program.
    let mut signals = Signals::listen(args.sig_proxy && !tty)?;
    let session = signals.hold_until(context.client.attach(&args.container, &request)).await??;
    let how = Foreground { tty, stdin, detach_keys: &keys, signals, started: false };
    stay(&context.client, session, how, &mut Trace::new(context.start_ns)).await
}
