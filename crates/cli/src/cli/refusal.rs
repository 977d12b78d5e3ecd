// SPDX-License-Identifier: Apache-2.0
//! What is said about arguments that are not understood.

use std::ffi::OsString;
use std::io;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use errors::{Kind, Report};

use crate::failure::Failure;
use crate::{help, printer, program};

/// What to say about `error`, and Docker's exit code: 125 for a wrong flag, 1 for the rest.
pub(super) fn refuse(error: &clap::Error, arguments: &[OsString]) -> Result<u8, Failure> {
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
        ErrorKind::MissingRequiredArgument | ErrorKind::InvalidSubcommand | ErrorKind::TooFewValues => 1,
        _ => 125,
    };
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let similar = error.get(ContextKind::SuggestedSubcommand).or(error.get(ContextKind::SuggestedArg));
    let hint = match nearest_command(error, arguments).or_else(|| similar.map(ToString::to_string)) {
        Some(similar) => format!("there is {similar}; `--help` lists all"),
        None => "`--help` says what is understood".to_owned(),
    };
    let report = Report::new(Kind::InvalidArgument, message.join(" ")).with_hint(hint);
    Err(unsupported(error).unwrap_or(Failure { report: Some(report), code }))
}

/// The command that was meant by a slip of the pen, if there is one that is near enough.
fn nearest_command(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let root = super::Line::command();
    let before = arguments.iter().skip(1).take_while(|word| *word != wrong.as_str());
    let words = before.filter_map(|word| word.to_str());
    // A command of a group stands behind it; flags and their values are no commands.
    let group = words.fold(&root, |group, word| group.find_subcommand(word).unwrap_or(group));
    let known = group.get_subcommands().filter(|command| !command.is_hide_set());
    let slips = known.map(|command| (slips(wrong, command.get_name()), command.get_name()));
    let (fewest, name) = slips.min()?;
    (fewest <= if wrong.chars().count() < 5 { 1 } else { 2 }).then(|| name.to_owned())
}

/// How many slips lead from one word to the other: a letter that is wrong, missing or too much, or two that changed places.
fn slips(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let other = rows[i][j] + usize::from(a != b);
            let mut least = other.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
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
