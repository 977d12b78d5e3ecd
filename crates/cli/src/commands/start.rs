// SPDX-License-Identifier: Apache-2.0
//! `corten start`: start containers that do not run.

use api_types::{AttachRequest, Streams};
use errors::Kind;

use crate::cli::Context;
use crate::cli::plain::{Operands, Place, Plain};
use crate::commands::for_each;
use crate::commands::run::{Foreground, stay};
use crate::failure::Failure;
use crate::flags::refuse;
use crate::signals::Signals;
use crate::trace::Trace;
use crate::user_config;
use api_types::detach_keys::DetachKeys;

/// Start one or more containers
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Attach the output, and pass signals on
    #[arg(short, long)]
    attach: bool,
    #[arg(long, hide = true, value_name = "NAME")]
    checkpoint: Option<String>,
    #[arg(long, hide = true, value_name = "DIRECTORY")]
    checkpoint_dir: Option<String>,
    /// Attach stdin, too
    #[arg(short, long)]
    interactive: bool,
    /// Keys that detach from the container [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Plain for Args {
    fn flag(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "a" | "attach" => Place::Switch(&mut self.attach),
            "i" | "interactive" => Place::Switch(&mut self.interactive),
            _ => return None,
        })
    }

    fn operands(&mut self) -> Option<Operands<'_>> {
        Some(Operands { list: &mut self.containers, least: 1, trailing: false })
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    const EXPERIMENT: &str = "checkpoints are an experiment of Docker's; `corten oci` has checkpoint and restore";
    refuse(&[
        (args.checkpoint.is_some(), "--checkpoint", EXPERIMENT),
        (args.checkpoint_dir.is_some(), "--checkpoint-dir", EXPERIMENT),
    ])?;
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
    let keys = user_config::detach_keys(args.detach_keys.as_ref())?;
    let found = context.client.inspect_container(name).await?;
    let config = found.config.unwrap_or_default();
    let tty = config.tty.unwrap_or(false);
    let stdin = args.interactive && config.open_stdin.unwrap_or(false);
    let request = AttachRequest { streams: Streams { stdin, stdout: true, stderr: true }, start: true };
    // Before the start: a signal to the command may come as soon as it runs.
    let mut signals = Signals::listen(true)?;
    let session = signals.hold_until(context.client.attach(name, &request)).await??;
    let how = Foreground { tty, stdin, detach_keys: &keys, signals, started: false };
    stay(&context.client, session, how, &mut Trace::new(context.start_ns)).await
}
