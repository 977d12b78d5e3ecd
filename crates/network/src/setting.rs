// SPDX-License-Identifier: Apache-2.0
//! Kernel settings under /proc/sys/net, of the calling thread's network namespace (sysctl(8)).
//!
//! They are found through an instance of procfs that the thread has for itself. In the shared one each namespace has
//! directories of the same names, and the kernel passes all of them to find one (its `proc_sys_compare`): with a thousand
//! containers that took longer than all else that a new namespace needs.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::error::NetworkError;

/// What all settings begin with.
const PREFIX: &str = "/proc/sys/net/";

thread_local! {
    /// The directory `sys/net` of the thread's own procfs; of the shared one where it may have none.
    ///
    /// A thread that enters a namespace does so before it asks, and ends there (`namespace`); what the kernel shows in the
    /// directory is in any case what belongs to the namespace of who looks.
    static DIRECTORY: OnceCell<OwnedFd> = const { OnceCell::new() };
}

/// What an interface with IPv6 is told, before it has it: it believes nobody who says that he is a router, invents no
/// addresses, takes no advice about routes, and its addresses are its own without asking around, which would take a second.
const QUIET: [(&str, &str); 5] =
    [("accept_ra", "0"), ("autoconf", "0"), ("accept_redirects", "0"), ("accept_dad", "0"), ("dad_transmits", "0")];

/// Opens a setting by its path under `/proc/sys/net`.
fn open(path: &str, flags: OFlags) -> io::Result<File> {
    let Some(name) = path.strip_prefix(PREFIX) else { return Err(io::ErrorKind::InvalidInput.into()) };
    DIRECTORY.with(|directory| {
        if directory.get().is_none() {
            let opened = own_directory().or_else(|_| openat(CWD, PREFIX, DIRECTORY_FLAGS, Mode::empty()))?;
            // Nobody else has filled it: it is this thread's.
            let _ = directory.set(opened);
        }
        let directory = directory.get().ok_or(io::ErrorKind::NotFound)?;
        Ok(File::from(openat(directory, name, flags | OFlags::CLOEXEC, Mode::empty())?))
    })
}

const DIRECTORY_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn own_directory() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let procfs = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    openat(&procfs, "sys/net", DIRECTORY_FLAGS, Mode::empty())
}

/// Writes a setting.
pub(crate) fn write(path: &str, value: &str) -> Result<(), NetworkError> {
    let attempt = || open(path, OFlags::WRONLY)?.write_all(value.as_bytes());
    attempt().map_err(|source| failed(path, value, source))
}

fn text(path: &str) -> io::Result<String> {
    let mut text = String::new();
    open(path, OFlags::RDONLY)?.read_to_string(&mut text)?;
    Ok(text)
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
    let text = text(path).map_err(|source| NetworkError::ReadSetting { path: path.to_owned(), source })?;
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
    let before = text(path).map_err(|source| failed(path, "1", source))?;
    if before.trim() != "0" {
        return Ok(false);
    }
    write(path, "1").map(|()| true)
}

fn failed(path: &str, value: &str, source: io::Error) -> NetworkError {
    NetworkError::Setting { path: path.to_owned(), value: value.to_owned(), source }
}
