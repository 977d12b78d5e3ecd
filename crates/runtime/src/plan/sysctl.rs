// SPDX-License-Identifier: Apache-2.0
//! `linux.sysctl`: only parameters that belong to a namespace the container does not share with the host.

use std::path::PathBuf;

use oci::runtime_spec::{Linux, LinuxNamespaceType};

use super::operation::Operation;
use super::{Namespaces, PlanError};

const IPC: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.auto_msgmni",
];

pub(super) fn operations(
    linux: &Linux,
    namespaces: &Namespaces,
    operations: &mut Vec<Operation>,
) -> Result<(), PlanError> {
    let Some(sysctls) = linux.sysctl() else { return Ok(()) };
    let mut sorted: Vec<_> = sysctls.iter().collect();
    sorted.sort();
    for (key, value) in sorted {
        let field = format!("linux.sysctl[{key}]");
        let dotted = if key.contains('/') { key.replace('/', ".") } else { key.clone() };
        let (kind, name) = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            (LinuxNamespaceType::Ipc, "ipc")
        } else if dotted.starts_with("net.") {
            (LinuxNamespaceType::Network, "network")
        } else if dotted == "kernel.domainname" || dotted == "kernel.hostname" {
            (LinuxNamespaceType::Uts, "uts")
        } else {
            let expected = "a parameter that belongs to a namespace";
            return Err(PlanError::Invalid { field: "linux.sysctl".into(), value: key.clone(), expected });
        };
        if !namespaces.has(kind) {
            return Err(PlanError::NeedsNamespace { field, namespace: name });
        }
        if key.split(['.', '/']).any(str::is_empty) || key.contains('\0') {
            return Err(PlanError::Invalid { field, value: key.clone(), expected: "a name like net.ipv4.ip_forward" });
        }
        operations.push(Operation::Sysctl { key: key.clone(), value: value.clone() });
    }
    Ok(())
}

/// Where a parameter is, below `/proc/sys`. With slashes in its name, its dots are part of a name (of an interface).
pub(crate) fn path(key: &str) -> PathBuf {
    if key.contains('/') { key.into() } else { key.replace('.', "/").into() }
}
