// SPDX-License-Identifier: Apache-2.0
//! Kernel settings under /proc/sys/net, of the calling thread's network namespace (sysctl(8)).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use crate::error::NetworkError;

/// Writes a setting.
pub(crate) fn write(path: &str, value: &str) -> Result<(), NetworkError> {
    let attempt = || OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes());
    attempt().map_err(|source| failed(path, value, source))
}

/// Writes a setting that a kernel built without the feature in question does not have.
pub(crate) fn write_if_present(path: &str, value: &str) -> Result<(), NetworkError> {
    match write(path, value) {
        Err(NetworkError::Setting { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Sets a switch to 1; says whether it was 0 before.
pub(crate) fn switch_on(path: &str) -> Result<bool, NetworkError> {
    let before = fs::read_to_string(path).map_err(|source| failed(path, "1", source))?;
    if before.trim() != "0" {
        return Ok(false);
    }
    write(path, "1").map(|()| true)
}

fn failed(path: &str, value: &str, source: io::Error) -> NetworkError {
    NetworkError::Setting { path: path.to_owned(), value: value.to_owned(), source }
}
