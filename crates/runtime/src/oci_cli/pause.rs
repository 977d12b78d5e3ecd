// SPDX-License-Identifier: Apache-2.0
//! `pause`: stops all processes of a container where they are.

use std::ffi::OsString;

use super::Context;
use super::error::CliError;
use super::flags::Flags;
use super::store::Status;

pub(super) fn pause(context: &Context, args: Vec<OsString>) -> Result<u8, CliError> {
    let id = Flags::read(args, &[])?.id()?;
    let (entry, record) = context.store.find(&id)?;
    let status = entry.status(&record)?;
    let refused = || CliError::State { id: id.to_string(), status, action: "pause", expected: "running or created" };
    if !matches!(status, Status::Running | Status::Created) {
        return Err(refused());
    }
    record.cgroup()?.ok_or_else(refused)?.freeze()?;
    Ok(0)
}
