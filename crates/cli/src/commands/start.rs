// SPDX-License-Identifier: Apache-2.0
//! `corten start`: start containers that do not run.

use api_types::{AttachRequest, Streams};
use errors::Kind;

use crate::cli::Context;
use crate::commands::for_each;
use crate::commands::run::{Foreground, stay};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::trace::Trace;
use api_types::detach_keys::DetachKeys;

/// Start one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attach the output, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach stdin, too
    #[arg(short, long)]
    interactive: bool,
    /// Keys that detach from the container
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    if !args.attach && !args.interactive {
        return for_each(&args.containers, async |name| {
            context.client.start_container(name).await?;
            Ok(name.to_owned())
        })
        .await;
    }
    let [name] = &args.containers[..] else {
        return Err(Failure::new(Kind::InvalidArgument, "only one container can be started and attached to")
            .with_hint("leave out -a and -i, or name one container"));
    };
    let found = context.client.inspect_container(name).await?;
    let config = found.config.unwrap_or_default();
    let tty = config.tty.unwrap_or(false);
    let stdin = args.interactive && config.open_stdin.unwrap_or(false);
    let request = AttachRequest { streams: Streams { stdin, stdout: true, stderr: true }, start: true };
    // Before the start: a signal to the command may come as soon as it runs.
    let signals = Signals::listen(true)?;
    let session = context.client.attach(name, &request).await?;
    let how = Foreground { tty, stdin, detach_keys: &args.detach_keys, signals };
    stay(&context.client, session, how, &mut Trace::new(context.start_ns)).await
}
