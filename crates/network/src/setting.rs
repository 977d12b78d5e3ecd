// SPDX-License-Identifier: Apache-2.0
//! Kernel settings under /proc/sys/net, of the calling thread's network namespace (sysctl(8)).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use crate::error::NetworkError;

/// What an interface with IPv6 is told, before it has it: it believes nobody who says that he is a router, invents no
/// addresses, takes no advice about routes, and its addresses are its own without asking around, which would take a second.
const QUIET: [(&str, &str); 5] =
    [("accept_ra", "0"), ("autoconf", "0"), ("accept_redirects", "0"), ("accept_dad", "0"), ("dad_transmits", "0")];

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

/// Reads a setting.
pub(crate) fn read(path: &str) -> Result<String, NetworkError> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| NetworkError::ReadSetting { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

/// Takes IPv6 from an interface of the host's, where there is none in our networks. A bridge that had it would believe a
/// container that says it is a router; and each of a crowd of ports would be told of each new one's address.
pub(crate) fn without_ipv6(interface: &str) -> Result<(), NetworkError> {
    write_if_present(&format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1")
}

/// Gives an interface IPv6, in which it believes nobody.
pub(crate) fn with_ipv6(interface: &str) -> Result<(), NetworkError> {
    for (name, value) in QUIET.into_iter().chain([("disable_ipv6", "0")]) {
        write(&format!("/proc/sys/net/ipv6/conf/{interface}/{name}"), value)?;
    }
    Ok(())
}

/// The same for a container's interface, in its namespace. It tells its neighbours when it gets an address, which was
/// another container's a moment ago.
pub(crate) fn container_with_ipv6(interface: &str) -> Result<(), NetworkError> {
    write(&format!("/proc/sys/net/ipv6/conf/{interface}/ndisc_notify"), "1")?;
    with_ipv6(interface)
}

/// Has a container's interface, in its namespace, tell its neighbours when it gets a hardware address.
pub(crate) fn announces_itself(interface: &str) -> Result<(), NetworkError> {
    write(&format!("/proc/sys/net/ipv4/conf/{interface}/arp_notify"), "1")
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
