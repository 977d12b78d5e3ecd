// SPDX-License-Identifier: Apache-2.0
//! Forwarding of IPv6 packets: one switch for the whole host, `net.ipv6.conf.all.forwarding`, which by itself would also make
//! routers of all its interfaces. A router believes no other router: the host would lose the default route and the addresses
//! that it has from one. So whatever each interface was, it is afterwards.
//!
//! (A bridge of ours needs none of it to have its containers' packets forwarded, and setting it for one interface alone would
//! have the kernel forget what all others have learnt.)
//!
//! Who makes a host a router also sets what new interfaces are (`net.ipv6.conf.default.forwarding`): the kernel does it by
//! itself. Here that is taken back, too, and so tells later whether it was us.

use std::fs;

use crate::error::NetworkError;
use crate::setting;

const SETTINGS: &str = "/proc/sys/net/ipv6/conf";
/// They stand for no interface.
const NO_INTERFACES: [&str; 2] = ["all", "default"];

/// Who wants IPv6 packets forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forwarding {
    /// Nobody: they are not.
    Off,
    /// Our containers alone.
    ForContainers,
    /// This host is a router, whatever containers it has.
    Router,
}

/// Whether there is IPv6 in this kernel.
pub(crate) fn is_possible() -> bool {
    fs::exists(SETTINGS).unwrap_or(false)
}

/// How it stands.
pub(crate) fn now() -> Result<Forwarding, NetworkError> {
    Ok(match (read("all", "forwarding")?.as_str(), read("default", "forwarding")?.as_str()) {
        ("0", _) => Forwarding::Off,
        (_, "0") => Forwarding::ForContainers,
        _ => Forwarding::Router,
    })
}

/// Has IPv6 packets forwarded, and changes nothing else.
pub(crate) fn switch_on() -> Result<(), NetworkError> {
    let mut hosts = Vec::new();
    for name in interfaces()? {
        match read(&name, "forwarding") {
            Ok(value) if value == "0" => {}
            Ok(_) => continue,
            Err(error) if error.is_gone() => continue,
            Err(error) => return Err(error),
        }
        let believes = match read(&name, "accept_ra") {
            Ok(value) => value == "1",
            Err(error) if error.is_gone() => continue,
            Err(error) => return Err(error),
        };
        if believes {
            // As a router, too: else the next step would delete the routes that it has learnt.
            write(&name, "accept_ra", "2")?;
        }
        hosts.push((name, believes));
    }
    write("all", "forwarding", "1")?;
    write("default", "forwarding", "0")?;
    for (name, believes) in hosts {
        write(&name, "forwarding", "0")?;
        if believes {
            write(&name, "accept_ra", "1")?;
        }
    }
    Ok(())
}

/// Has them forwarded no longer, if that was for our containers alone.
pub(crate) fn give_back() -> Result<(), NetworkError> {
    if is_possible() && now()? == Forwarding::ForContainers {
        write("all", "forwarding", "0")?;
    }
    Ok(())
}

/// Those that have IPv6 or could have it.
fn interfaces() -> Result<Vec<String>, NetworkError> {
    let failed = |source| NetworkError::ReadSetting { path: SETTINGS.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(SETTINGS).map_err(failed)? {
        // The kernel takes no name that is not a string of bytes without '/'; those that are no text are nobody's here.
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        if !NO_INTERFACES.contains(&name.as_str()) {
            names.push(name);
        }
    }
    Ok(names)
}

fn read(interface: &str, setting: &str) -> Result<String, NetworkError> {
    setting::read(&format!("{SETTINGS}/{interface}/{setting}"))
}

/// An interface that has gone meanwhile needs nothing.
fn write(interface: &str, setting: &str, value: &str) -> Result<(), NetworkError> {
    setting::write_if_present(&format!("{SETTINGS}/{interface}/{setting}"), value)
}
