// SPDX-License-Identifier: Apache-2.0
//! Reservation of the host's ports.
//!
//! A bound socket reserves a published port for as long as it is published. Who listens there already makes the bind
//! fail; who comes later is refused. It never listens and hence never sees a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::endpoint::{PortMapping, Protocol, PublishedPort};
use crate::error::NetworkError;
use crate::port_holder;

/// How often the kernel may choose a port that somebody has in the other family.
const CHOICES: usize = 16;

/// Reserves what `mapping` asks for, in IPv6 as well where the container has an IPv6 address.
pub(crate) fn reserve(mapping: &PortMapping, has_ipv6: bool) -> Result<(Vec<OwnedFd>, PublishedPort), NetworkError> {
    if mapping.container_port == 0 {
        return Err(NetworkError::PortZero);
    }
    match mapping.host_ip {
        Some(address @ IpAddr::V6(_)) if !has_ipv6 => return Err(NetworkError::Ipv6Port { address }),
        Some(IpAddr::V6(address)) if address.is_loopback() => return Err(NetworkError::Ipv6Loopback),
        _ => {}
    }
    let mut published = PublishedPort {
        host_ip: mapping.host_ip.filter(|address| *address != Ipv4Addr::UNSPECIFIED),
        ipv6: has_ipv6 && mapping.host_ip.is_none(),
        host_port: mapping.host_port.unwrap_or(0),
        container_port: mapping.container_port,
        protocol: mapping.protocol,
    };
    let (addresses, first) = (published.host_addresses(), published.host_port);
    let last = mapping.host_port_last.filter(|last| *last != first);
    let (sockets, host_port) = bind(&addresses, first, last, mapping.protocol)?;
    published.host_port = host_port;
    Ok((sockets, published))
}

/// Reserves again what a former daemon had reserved.
pub(crate) fn reserve_again(port: &PublishedPort) -> Result<Vec<OwnedFd>, NetworkError> {
    bind(&port.host_addresses(), port.host_port, None, port.protocol).map(|(sockets, _)| sockets)
}

/// Binds a port on each of the addresses: `first`, or the first up to `last` that nobody has.
fn bind(
    addresses: &[IpAddr],
    first: u16,
    last: Option<u16>,
    protocol: Protocol,
) -> Result<(Vec<OwnedFd>, u16), NetworkError> {
    let mut choices = 0;
    for port in first..=last.unwrap_or(first) {
        loop {
            match bind_each(addresses, port, protocol) {
                Err((_, Errno::ADDRINUSE)) if last.is_some() => break,
                // It is free in one family: the kernel may choose another one.
                Err((_, Errno::ADDRINUSE)) if port == 0 && choices < CHOICES => choices += 1,
                other => return other.map_err(|(address, errno)| explain(errno, address, port, protocol)),
            }
        }
    }
    let address = addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    Err(NetworkError::RangeTaken { address, first, last: last.unwrap_or(first), protocol })
}

/// Binds the same port on each of the addresses; where it is 0, that which the kernel chooses for the first.
fn bind_each(addresses: &[IpAddr], port: u16, protocol: Protocol) -> Result<(Vec<OwnedFd>, u16), (IpAddr, Errno)> {
    let (mut sockets, mut port) = (Vec::with_capacity(addresses.len()), port);
    for &address in addresses {
        let (socket, bound) = bind_unless_kept(address, port, protocol).map_err(|errno| (address, errno))?;
        sockets.push(socket);
        port = bound;
    }
    Ok((sockets, port))
}

fn bind_unless_kept(address: IpAddr, port: u16, protocol: Protocol) -> Result<(OwnedFd, u16), Errno> {
    match bind_socket(address, port, protocol, false) {
        // Connections that ended a moment ago also keep a TCP port. They do not keep it from a socket that may reuse
        // addresses; one that listens, or that does not share, does.
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => bind_socket(address, port, protocol, true),
        other => other,
    }
}

fn explain(errno: Errno, address: IpAddr, port: u16, protocol: Protocol) -> NetworkError {
    match errno {
        Errno::ADDRINUSE => {
            let holder = port_holder::find(address, port, protocol);
            NetworkError::PortTaken { address, port, protocol, holder }
        }
        Errno::ADDRNOTAVAIL => NetworkError::NotOurAddress { address, port, protocol },
        _ => NetworkError::Port { address, port, protocol, source: errno.into() },
    }
}

fn bind_socket(address: IpAddr, port: u16, protocol: Protocol, reuse: bool) -> Result<(OwnedFd, u16), Errno> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        // What it does not stand for, it does not keep from others.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    net::bind(&socket, &SocketAddr::new(address, port))?;
    // Bound, it shares with nobody: a program that may reuse addresses is refused when it wants to listen.
    sockopt::set_socket_reuseaddr(&socket, false)?;
    let bound = SocketAddr::try_from(net::getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}
