// SPDX-License-Identifier: Apache-2.0
//! `list`: all containers of one `--root`.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::log::Log;
use super::state::State;
use super::store::{Entry, Record};
use super::{Context, print};
use crate::processes::Users;

pub(super) fn list(context: &Context, args: Vec<OsString>, log: &mut Log) -> Result<u8, CliError> {
    let flags = Flags::read(args, &[Flag::value("format").short('f'), Flag::switch("quiet").short('q')])?;
    let all = context.store.all()?;
    if flags.switch("quiet") {
        return print(&all.iter().map(|(_, record)| format!("{}\n", record.id)).collect::<String>());
    }
    let users = Users::of_host();
    let state = |(entry, record): (Entry, Record)| {
        let owner = std::fs::metadata(&entry.dir).map(|metadata| users.name(metadata.uid()));
        let mut state = State::of(&entry, record)?;
        state.owner = owner.unwrap_or_default();
        Ok::<_, CliError>(state)
    };
    let mut states = Vec::with_capacity(all.len());
    for (entry, record) in all {
        let id = record.id.clone();
        match state((entry, record)) {
            Ok(state) => states.push(state),
            // One that cannot be looked at must not hide the others.
            Err(error) => log.warning(&format!("container {id} is left out: {}", errors::chain(&error))),
        }
    }
    match flags.text("format")?.as_deref() {
        None | Some("table") => print(&table(&states)),
        Some("json") => print(&format!("{}\n", serde_json::to_string(&states).map_err(CliError::Format)?)),
        Some(other) => {
            let value = other.to_owned();
            Err(CliError::InvalidValue { flag: "format", value, expected: "table or json" })
        }
    }
}

fn table(states: &[State]) -> String {
    let row = |state: &State| {
        let bundle = state.bundle.display().to_string();
        let (created, owner) = (state.created.clone(), state.owner.clone());
        [state.id.clone(), state.pid.to_string(), state.status.to_string(), bundle, created, owner]
    };
    let heading = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let rows: Vec<[String; 6]> = std::iter::once(heading).chain(states.iter().map(row)).collect();
    // Columns as runc's: three spaces between, and none narrower than twelve.
    let width = |column: usize| (rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + 3).max(12);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let line: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
