// SPDX-License-Identifier: Apache-2.0
//! Who has a port of the host. Only asked when it is wanted and taken: it reads much of /proc.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::endpoint::Protocol;

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortHolder {
    /// A container of ours.
    Container(String),
    /// A process of the host.
    Process {
        /// Its number.
        pid: u32,
        /// Its name, as in /proc/PID/comm.
        name: String,
    },
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortHolder::Container(id) => write!(f, "container {id}"),
            PortHolder::Process { pid, name } => write!(f, "{name} (process {pid})"),
        }
    }
}

/// The process whose socket is bound to the port; `None` if it cannot be found.
pub(crate) fn find(address: IpAddr, port: u16, protocol: Protocol) -> Option<PortHolder> {
    let tables: [&str; 2] = match protocol {
        Protocol::Tcp => ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"],
        Protocol::Udp => ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"],
    };
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|text| {
            text.lines().filter_map(|line| socket_inode(line, address, port, protocol)).collect::<Vec<_>>()
        })
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let targets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        if pid == std::process::id() || !has_descriptor(&entry.path().join("fd"), &targets) {
            return None;
        }
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some(PortHolder::Process { pid, name: name.trim_end().to_owned() })
    })
}

/// The inode in a line of /proc/net/tcp and its like (proc_net_tcp in the kernel's documentation), if it stands for a
/// socket that keeps this port from us.
fn socket_inode(line: &str, address: IpAddr, port: u16, protocol: Protocol) -> Option<u64> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (local_address, local_port) = local.split_once(':')?;
    if u16::from_str_radix(local_port, 16).ok()? != port || (protocol == Protocol::Tcp && *state != LISTEN) {
        return None;
    }
    let any = local_address.bytes().all(|digit| digit == b'0');
    let same = printed(address) == local_address;
    (any || same || address.is_unspecified()).then(|| inode.parse().ok()).flatten().filter(|&inode| inode != 0)
}

/// An address is printed as the numbers that each four of its bytes are in memory.
fn printed(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect()
}

fn has_descriptor(directory: &Path, targets: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| link.to_str().is_some_and(|link| targets.iter().any(|target| target == link)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_listener_is_recognised_in_the_kernels_table() {
        let line =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100";
        let find = |address: Ipv4Addr, port, protocol| socket_inode(line, address.into(), port, protocol);
        assert_eq!(find(Ipv4Addr::LOCALHOST, 8080, Protocol::Tcp), Some(4242));
        assert_eq!(find(Ipv4Addr::UNSPECIFIED, 8080, Protocol::Tcp), Some(4242));
        assert_eq!(find(Ipv4Addr::new(10, 0, 0, 1), 8080, Protocol::Tcp), None);
        assert_eq!(find(Ipv4Addr::LOCALHOST, 8081, Protocol::Tcp), None);
        assert_eq!(
            socket_inode("  sl  local_address rem_address   st", Ipv4Addr::LOCALHOST.into(), 1, Protocol::Tcp),
            None
        );
        let line = line.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(socket_inode(&line, Ipv6Addr::LOCALHOST.into(), 8080, Protocol::Tcp), Some(4242));
        assert_eq!(socket_inode(&line, Ipv6Addr::UNSPECIFIED.into(), 8080, Protocol::Tcp), Some(4242));
        assert_eq!(socket_inode(&line, "fd00::1".parse().unwrap(), 8080, Protocol::Tcp), None);
    }
}
