// SPDX-License-Identifier: Apache-2.0
//! `resume`: lets a paused container's processes go on.

use std::ffi::OsString;

use super::Context;
use super::error::CliError;
use super::flags::Flags;
use super::store::Status;

pub(super) fn resume(context: &Context, args: Vec<OsString>) -> Result<u8, CliError> {
    let id = Flags::read(args, &[])?.id()?;
    let (entry, record) = context.store.find(&id)?;
    let status = entry.status(&record)?;
    let refused = || CliError::State { id: id.to_string(), status, action: "resume", expected: "paused" };
    if status != Status::Paused {
        return Err(refused());
    }
    record.cgroup()?.ok_or_else(refused)?.thaw()?;
    Ok(0)
}
