// SPDX-License-Identifier: Apache-2.0
//! What is said about arguments that are not understood.

use std::io;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use errors::{Kind, Report};

use crate::failure::Failure;
use crate::{help, printer, program};

/// What to say about `error`, and Docker's exit code: 125 for a wrong flag, 1 for the rest.
pub(super) fn refuse(error: &clap::Error) -> Result<u8, Failure> {
    match error.kind() {
        ErrorKind::DisplayVersion => {
            printer::line(&program::version_line());
            return Ok(0);
        }
        ErrorKind::DisplayHelp => {
            printer::data(help::render(&error.render(), &io::stdout()).as_bytes());
            return Ok(0);
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            printer::error_data(help::render(&error.render(), &io::stderr()).as_bytes());
            return Err(Failure::told());
        }
        _ => {}
    }
    let code = match error.kind() {
        ErrorKind::MissingRequiredArgument | ErrorKind::InvalidSubcommand => 1,
        _ => 125,
    };
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let hint = match (error.get(ContextKind::SuggestedSubcommand), error.get(ContextKind::SuggestedArg)) {
        (Some(similar), _) | (_, Some(similar)) => format!("there is {similar}; `--help` lists all"),
        _ => "`--help` says what is understood".to_owned(),
    };
    let report = Report::new(Kind::InvalidArgument, message.join(" ")).with_hint(hint);
    Err(unsupported(error).unwrap_or(Failure { report: Some(report), code }))
}

/// Why one of Docker's commands is none of ours.
fn unsupported(error: &clap::Error) -> Option<Failure> {
    const SWARM: &str = "this is no node of a swarm";
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let reason = match name.as_str() {
        "build" | "builder" | "buildx" | "bake" => "images are not built yet: pull, load, import or commit one",
        "checkpoint" => "checkpoints are an experiment of Docker's; `corten oci` has checkpoint and restore",
        "compose" => "docker-compose works with the daemon; a compose of our own is still to come",
        "config" | "node" | "secret" | "service" | "stack" | "swarm" => SWARM,
        "manifest" => "images for several platforms are copied whole: `corten copy --all`",
        "plugin" => "there are no plugins",
        "revoke" | "sign" | "signer" => {
            "Docker's trust asks a Notary server; there are `corten image sign`, `corten image verify` and `corten trust`"
        }
        "search" => "the registries' protocol has no search; Docker asks Docker Hub's own interface",
        "update" => "of volumes, only a swarm's can be updated, and this is no node of one",
        _ => return None,
    };
    Some(Failure::new(Kind::Unsupported, format!("{name} is not supported: {reason}")))
}
