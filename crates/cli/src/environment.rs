// SPDX-License-Identifier: Apache-2.0
//! The environment that the user's configuration is looked for in, with what `--config` says in it.

use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;

/// What `--config` says. The process's own environment cannot be changed once there may be threads.
static DOCKER_CONFIG: OnceLock<OsString> = OnceLock::new();

/// Has Docker's client configuration and the contexts looked for in `directory`. Only the first call counts.
pub(crate) fn set_docker_config(directory: &Path) {
    DOCKER_CONFIG.get_or_init(|| directory.as_os_str().to_owned());
}

/// A variable.
pub(crate) fn variable_os(name: &str) -> Option<OsString> {
    let set = if name == "DOCKER_CONFIG" { DOCKER_CONFIG.get().cloned() } else { None };
    set.or_else(|| std::env::var_os(name))
}

/// A variable that is text.
pub(crate) fn variable(name: &str) -> Option<String> {
    variable_os(name).and_then(|value| value.into_string().ok())
}
