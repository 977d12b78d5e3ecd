// SPDX-License-Identifier: Apache-2.0
//! How an IPv6 address is found by its neighbours (RFC 4861, section 7.2): they ask a group of addresses that its interface
//! has joined. The kernel joins it in its own time, some milliseconds after it has given the address; who asks before is
//! not heard, and asks again after a second.

use std::fs;
use std::net::Ipv6Addr;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::NetworkError;

/// The groups that interfaces have joined, in the calling thread's network namespace.
const GROUPS: &str = "/proc/thread-self/net/igmp6";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until an interface hears who asks for its address.
pub(crate) fn wait_until_found(interface: &str, address: Ipv6Addr) -> Result<(), NetworkError> {
    let group = group(address);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let groups = fs::read_to_string(GROUPS);
        let groups = groups.map_err(|source| NetworkError::ReadSetting { path: GROUPS.to_owned(), source })?;
        if has_joined(&groups, interface, &group) {
            return Ok(());
        }
        if Instant::now() > deadline {
            tracing::warn!(interface, %address, "a container's neighbours do not find its address yet");
            return Ok(());
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// The group of an address (RFC 4291, section 2.7.1), as the kernel prints it.
fn group(address: Ipv6Addr) -> String {
    format!("ff0200000000000000000001ff{:06x}", address.to_bits() & 0xff_ffff)
}

/// Each line has the interface's number and name, the group, and more.
fn has_joined(groups: &str, interface: &str, group: &str) -> bool {
    groups.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(interface) && words.next() == Some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addresss_group_is_looked_for_at_its_interface() {
        let group = group("fd00:1::12:3456:789a".parse().unwrap());
        assert_eq!(group, "ff0200000000000000000001ff56789a");
        let line = format!("2    eth0            {group}     1 00000004 0\n");
        assert!(has_joined(&line, "eth0", &group));
        assert!(!has_joined(&line, "eth1", &group) && !has_joined("", "eth0", &group));
    }
}
