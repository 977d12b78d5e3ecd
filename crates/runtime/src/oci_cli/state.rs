// SPDX-License-Identifier: Apache-2.0
//! `state`: a container's state as the runtime specification writes it ("State").

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

use super::error::CliError;
use super::flags::Flags;
use super::store::{Entry, Record, Status};
use super::{Context, print};

/// The specification's state, and beside it what runc adds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    oci_version: String,
    pub(super) id: String,
    pub(super) pid: i32,
    pub(super) status: Status,
    pub(super) bundle: PathBuf,
    rootfs: PathBuf,
    pub(super) created: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: HashMap<String, String>,
    pub(super) owner: String,
}

impl State {
    pub(super) fn of(entry: &Entry, record: Record) -> Result<State, CliError> {
        let spec = entry.spec()?;
        let status = entry.status(&record)?;
        let root = spec.root().as_ref().map(|root| record.bundle.join(root.path())).unwrap_or_default();
        Ok(State {
            oci_version: spec.version().clone(),
            id: record.id.to_string(),
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status,
            rootfs: root,
            bundle: record.bundle,
            created: record.created,
            annotations: spec.annotations().clone().unwrap_or_default(),
            // Only `list` says it.
            owner: String::new(),
        })
    }
}

pub(super) fn state(context: &Context, args: Vec<OsString>) -> Result<u8, CliError> {
    let id = Flags::read(args, &[])?.id()?;
    let (entry, record) = context.store.find(&id)?;
    let text = serde_json::to_string_pretty(&State::of(&entry, record)?).map_err(CliError::Format)?;
    print(&format!("{text}\n"))
}
