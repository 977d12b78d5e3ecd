// SPDX-License-Identifier: Apache-2.0
//! `start`: lets a created container execute its command.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use rustix::fs::OFlags;

use super::error::CliError;
use super::flags::Flags;
use super::store::Status;
use super::{Context, hooks};
use crate::LaunchError;
use crate::message::listen;

pub(super) fn start(context: &Context, args: Vec<OsString>) -> Result<u8, CliError> {
    let id = Flags::read(args, &[])?.id()?;
    let (entry, record) = context.store.find(&id)?;
    let status = entry.status(&record)?;
    if status != Status::Created {
        return Err(CliError::State { id: id.to_string(), status, action: "start", expected: "created" });
    }
    let fifo = entry.fifo();
    let released = release(&fifo);
    fs::remove_file(&fifo).map_err(CliError::file("remove", &fifo))?;
    released?;
    if !record.has_hooks {
        return Ok(0);
    }
    let spec = entry.spec()?;
    if let Err(error) = hooks::poststart(&id, &record.bundle, &spec, record.pid) {
        // The specification has the container stopped then (runtime.md, "Lifecycle"); `delete` takes it down.
        if let Some(cgroup) = record.cgroup()? {
            cgroup.kill()?;
        }
        return Err(LaunchError::Hook(error).into());
    }
    Ok(0)
}

/// Reads from the fifo, which releases the process, until it executed its command. A process that was killed meanwhile
/// has it open no more: then there is nothing to read, not even what it was filled with.
fn release(fifo: &Path) -> Result<(), CliError> {
    let gone = || LaunchError::ChildGone { status: "it was killed while it waited for start".into() };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = rustix::fs::open(fifo, flags, rustix::fs::Mode::empty())
        .map_err(|errno| CliError::file("open", fifo)(errno.into()))?;
    rustix::fs::fcntl_setfl(&opened, OFlags::empty())
        .map_err(|errno| sys::Error::new("fcntl(fifo, F_SETFL, 0)", errno))?;
    // From here on nothing of the plan asks for anything.
    let heard = listen(opened, None, None, |_| Ok(()))?;
    match heard.failed {
        Some(report) => Err(LaunchError::Child(report).into()),
        None if heard.executing => Ok(()),
        None => Err(gone().into()),
    }
}
