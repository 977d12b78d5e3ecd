// SPDX-License-Identifier: Apache-2.0
//! `features`: what this runtime supports (runtime specification, "Features Structure"). Nothing is listed that a
//! plan would refuse.

use std::ffi::OsString;

use super::error::CliError;
use super::flags::Flags;
use super::print;
use crate::plan::{CAPABILITY_NAMES, mount_option_names};

/// The newest version of the specification whose fields are known.
pub(super) const NEWEST: &str = "1.2.1";

pub(super) fn features(args: Vec<OsString>) -> Result<u8, CliError> {
    if !Flags::read(args, &[])?.rest.is_empty() {
        return Err(CliError::Usage { expected: "no arguments" });
    }
    let capabilities: Vec<String> = CAPABILITY_NAMES.iter().map(|name| format!("CAP_{name}")).collect();
    let actions = [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_LOG",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ];
    let operators = [
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_LE",
        "SCMP_CMP_LT",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_CMP_NE",
    ];
    let text = serde_json::to_string_pretty(&serde_json::json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": NEWEST,
        "hooks": [],
        "mountOptions": mount_option_names(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "uts"],
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false },
            "seccomp": { "enabled": true, "actions": actions, "operators": operators },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": false } }
        },
        "annotations": { "org.corten.version": env!("CARGO_PKG_VERSION") }
    }))
    .map_err(CliError::Format)?;
    print(&format!("{text}\n"))
}
