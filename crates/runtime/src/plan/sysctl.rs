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
        let invalid = |expected| PlanError::Invalid { field: "linux.sysctl".into(), value: key.clone(), expected };
        let (kind, namespace) = namespace_of(key).map_err(invalid)?;
        if !namespaces.has(kind) {
            return Err(PlanError::NeedsNamespace { field, namespace });
        }
        operations.push(Operation::Sysctl { key: key.clone(), value: value.clone() });
    }
    Ok(())
}

/// The namespace that a kernel parameter belongs to, and its name.
///
/// # Errors
/// What is expected instead, for a name that is none, or a parameter of the whole machine.
pub fn namespace_of(key: &str) -> Result<(LinuxNamespaceType, &'static str), &'static str> {
    if key.split(['.', '/']).any(str::is_empty) || key.contains('\0') {
        return Err("a name like net.ipv4.ip_forward");
    }
    let dotted = dotted(key);
    if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        Ok((LinuxNamespaceType::Ipc, "ipc"))
    } else if dotted.starts_with("net.") {
        Ok((LinuxNamespaceType::Network, "network"))
    } else if dotted == "kernel.domainname" {
        Ok((LinuxNamespaceType::Uts, "uts"))
    } else if dotted == "kernel.hostname" {
        Err("the field hostname for it")
    } else if dotted.starts_with("user.") {
        Ok((LinuxNamespaceType::User, "user"))
    } else {
        Err("a parameter that belongs to a namespace")
    }
}

/// A name with dots between its parts. As sysctl(8) reads it, the separator that comes first separates, and the other
/// stands for it within a part (the name of an interface such as `eno2.100`).
fn dotted(key: &str) -> String {
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'/') => exchanged(key),
        _ => key.to_owned(),
    }
}

fn exchanged(key: &str) -> String {
    let exchange = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    key.chars().map(exchange).collect()
}

/// Where a parameter is, below `/proc/sys`.
pub(crate) fn path(key: &str) -> PathBuf {
    exchanged(&dotted(key)).into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn dots_and_slashes_are_read_as_sysctl_does() {
        for (key, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eno2.100/rp_filter", "net/ipv4/conf/eno2.100/rp_filter"),
            ("net.ipv4.conf.eno2/100.rp_filter", "net/ipv4/conf/eno2.100/rp_filter"),
            ("kernel.shmmax", "kernel/shmmax"),
        ] {
            assert_eq!(super::path(key), std::path::Path::new(path), "{key}");
        }
    }
}
