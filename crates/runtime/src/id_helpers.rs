// SPDX-License-Identifier: Apache-2.0
//! `newuidmap` and `newgidmap`: set-user-ID programs of the distribution that give a user's process the ids that
//! `/etc/subuid` and `/etc/subgid` grant the user. No system call does that for one without rights, so these two
//! programs are run. Nothing that they print is interpreted.

use std::io;
use std::process::Command;

use crate::error::LaunchError;
use crate::plan::IdMapping;

/// Has `program` map these ids for the process.
#[allow(clippy::disallowed_methods, reason = "only set-user-ID programs can map ids for an unprivileged user")]
pub(crate) fn run(program: &'static str, pid: i32, list: &[IdMapping]) -> Result<(), LaunchError> {
    let numbers = list.iter().flat_map(|mapping| [mapping.inside, mapping.outside, mapping.count]);
    let output =
        Command::new(program).arg(pid.to_string()).args(numbers.map(|number| number.to_string())).output().map_err(
            |source| match source.kind() {
                io::ErrorKind::NotFound => LaunchError::NoIdHelper { program },
                _ => LaunchError::IdHelper { program, source },
            },
        )?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LaunchError::IdHelperRefused { program, status: output.status, said })
}
