// SPDX-License-Identifier: Apache-2.0
//! Reservation of the host's ports.
//!
//! A bound socket reserves a published port for as long as it is published. Who listens there already makes the bind
//! fail; who comes later is refused. It never listens and hence never sees a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::endpoint::{PortMapping, Protocol, PublishedPort};
use crate::error::NetworkError;
use crate::port_holder;

/// Reserves what `mapping` asks for.
pub(crate) fn reserve(mapping: &PortMapping) -> Result<(OwnedFd, PublishedPort), NetworkError> {
    if mapping.container_port == 0 {
        return Err(NetworkError::PortZero);
    }
    let address = match mapping.host_ip {
        Some(IpAddr::V4(address)) => address,
        Some(address @ IpAddr::V6(_)) => return Err(NetworkError::Ipv6Port { address }),
        None => Ipv4Addr::UNSPECIFIED,
    };
    let first = mapping.host_port.unwrap_or(0);
    let (socket, host_port) = match mapping.host_port_last.filter(|last| *last != first) {
        None => bind(address, first, mapping.protocol)?,
        Some(last) => bind_one_of(address, first, last, mapping.protocol)?,
    };
    let published = PublishedPort {
        host_ip: (!address.is_unspecified()).then_some(IpAddr::V4(address)),
        host_port,
        container_port: mapping.container_port,
        protocol: mapping.protocol,
    };
    Ok((socket, published))
}

/// Reserves again what a former daemon had reserved.
pub(crate) fn reserve_again(port: &PublishedPort) -> Result<OwnedFd, NetworkError> {
    let mapping = PortMapping {
        host_ip: port.host_ip,
        host_port: Some(port.host_port),
        host_port_last: None,
        container_port: port.container_port,
        protocol: port.protocol,
    };
    reserve(&mapping).map(|(socket, _)| socket)
}

fn bind(address: Ipv4Addr, port: u16, protocol: Protocol) -> Result<(OwnedFd, u16), NetworkError> {
    bind_unless_kept(address, port, protocol).map_err(|errno| explain(errno, address, port, protocol))
}

/// Binds the first port from `first` to `last` that nobody has.
fn bind_one_of(address: Ipv4Addr, first: u16, last: u16, protocol: Protocol) -> Result<(OwnedFd, u16), NetworkError> {
    for port in first..=last {
        match bind_unless_kept(address, port, protocol) {
            Err(Errno::ADDRINUSE) => {}
            other => return other.map_err(|errno| explain(errno, address, port, protocol)),
        }
    }
    Err(NetworkError::RangeTaken { address, first, last, protocol })
}

fn bind_unless_kept(address: Ipv4Addr, port: u16, protocol: Protocol) -> Result<(OwnedFd, u16), Errno> {
    match bind_socket(address, port, protocol, false) {
        // Connections that ended a moment ago also keep a TCP port. They do not keep it from a socket that may reuse
        // addresses; one that listens, or that does not share, does.
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => bind_socket(address, port, protocol, true),
        other => other,
    }
}

fn explain(errno: Errno, address: Ipv4Addr, port: u16, protocol: Protocol) -> NetworkError {
    match errno {
        Errno::ADDRINUSE => {
            let holder = port_holder::find(address, port, protocol);
            NetworkError::PortTaken { address, port, protocol, holder }
        }
        Errno::ADDRNOTAVAIL => NetworkError::NotOurAddress { address, port, protocol },
        _ => NetworkError::Port { address, port, protocol, source: errno.into() },
    }
}

fn bind_socket(address: Ipv4Addr, port: u16, protocol: Protocol, reuse: bool) -> Result<(OwnedFd, u16), Errno> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    net::bind(&socket, &SocketAddrV4::new(address, port))?;
    // Bound, it shares with nobody: a program that may reuse addresses is refused when it wants to listen.
    sockopt::set_socket_reuseaddr(&socket, false)?;
    match SocketAddr::try_from(net::getsockname(&socket)?)? {
        SocketAddr::V4(bound) => Ok((socket, bound.port())),
        SocketAddr::V6(_) => Err(Errno::AFNOSUPPORT),
    }
}
