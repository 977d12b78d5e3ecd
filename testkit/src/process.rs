// SPDX-License-Identifier: Apache-2.0
//! Starting programs: the one place of the tests that does.

use std::ffi::OsStr;
use std::process::Command;

/// A command for `program`.
#[allow(clippy::disallowed_methods, reason = "tests start programs; the product does not")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}
