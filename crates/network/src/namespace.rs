// SPDX-License-Identifier: Apache-2.0
//! New network namespaces, with their loopback up.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use netlink::{Batch, Protocol, Socket, route};

use crate::error::NetworkError;
use crate::setting;

/// The kernel gives every namespace's loopback this number.
const LOOPBACK_INDEX: u32 = 1;

/// What a container expects of its namespace, as Docker's containers find it: no IPv6 but on loopback, ports below 1024
/// and ICMP echo for everybody.
const SETTINGS: [(&str, &str); 3] = [
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// A network namespace, alive as long as this is (or a process in it).
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) descriptor: OwnedFd,
    /// Speaks to the kernel inside.
    pub(crate) socket: Socket,
}

/// Makes a namespace in a thread of its own, so that no thread that anything else runs on ever leaves its own.
pub(crate) fn create() -> Result<Namespace, NetworkError> {
    let worker = thread::Builder::new().name("network-namespace".to_owned()).spawn(create_and_enter);
    match worker.map_err(NetworkError::Thread)?.join() {
        Ok(namespace) => namespace,
        Err(_) => Err(NetworkError::ThreadPanicked),
    }
}

/// Opens a namespace that there is already, in a thread of its own.
pub(crate) fn open(descriptor: OwnedFd) -> Result<Namespace, NetworkError> {
    let socket = inside(descriptor.as_fd(), || Ok(Socket::open(Protocol::Route)?))?;
    Ok(Namespace { socket, descriptor })
}

/// Makes of a namespace that has nothing what [`create`] makes.
pub(crate) fn furnish(descriptor: OwnedFd) -> Result<OwnedFd, NetworkError> {
    inside(descriptor.as_fd(), set_up)?;
    Ok(descriptor)
}

/// Does something in a namespace, in a thread of its own.
pub(crate) fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    let visit = || {
        sys::namespace::setns(namespace, sys::process::CloneFlags::NEWNET).map_err(NetworkError::Enter)?;
        work()
    };
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("network-namespace".to_owned()).spawn_scoped(scope, visit);
        worker.map_err(NetworkError::Thread)?.join().map_err(|_| NetworkError::ThreadPanicked)?
    })
}

/// For a thread that ends afterwards.
fn create_and_enter() -> Result<Namespace, NetworkError> {
    sys::namespace::unshare(sys::process::CloneFlags::NEWNET).map_err(NetworkError::Unshare)?;
    let descriptor = File::open("/proc/thread-self/ns/net").map_err(NetworkError::OpenNamespace)?;
    Ok(Namespace { descriptor: descriptor.into(), socket: set_up()? })
}

/// The calling thread is in the namespace.
fn set_up() -> Result<Socket, NetworkError> {
    for (path, value) in SETTINGS {
        setting::write_if_present(path, value)?;
    }
    let mut socket = Socket::open(Protocol::Route)?;
    let mut batch = Batch::new();
    route::set_up(&mut batch, LOOPBACK_INDEX);
    socket.execute(&mut batch)?;
    Ok(socket)
}
