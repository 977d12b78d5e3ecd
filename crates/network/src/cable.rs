// SPDX-License-Identifier: Apache-2.0
//! Veth pairs: one end in a container's namespace, the other a port of a bridge.

use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use netlink::route::{self, Veth};
use netlink::{Batch, Protocol, Socket};

use crate::endpoint::Endpoint;
use crate::error::NetworkError;
use crate::namespace::Namespace;
use crate::setting;

/// What all our veth interfaces on the host begin with. Tools that leave "veth…" alone leave these alone.
pub(crate) const INTERFACE_PREFIX: &str = "vethc";
/// How long a new interface may take until it carries packets. It should be a fraction of a millisecond.
const SETTLED: Duration = Duration::from_secs(2);

/// A pair to be made.
#[derive(Debug)]
pub(crate) struct Cable<'a> {
    /// The name of the host's end.
    pub(crate) host_interface: &'a str,
    /// The name of the container's end.
    pub(crate) interface: &'a str,
    /// The number of the bridge.
    pub(crate) bridge: u32,
    /// The container's hardware address; the kernel makes one up when absent.
    pub(crate) mac: Option<[u8; 6]>,
    /// The longest packet, in bytes.
    pub(crate) mtu: Option<u32>,
    /// No frame goes from this port to another isolated one.
    pub(crate) isolated: bool,
}

/// A pair's ends, by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    /// The container's interface, inside.
    pub(crate) interface: u32,
    /// The host's, a port of the bridge.
    pub(crate) port: u32,
}

impl Cable<'_> {
    /// Makes the pair, and gives back its ends when packets get through.
    pub(crate) fn lay(&self, namespace: &mut Namespace) -> Result<Ends, NetworkError> {
        let mut host = Socket::open(Protocol::Route)?;
        let mut batch = Batch::new();
        let veth = Veth {
            name: self.host_interface,
            bridge: self.bridge,
            peer: self.interface,
            namespace: namespace.descriptor.as_fd(),
            peer_address: self.mac,
            mtu: self.mtu,
        };
        route::create_veth(&mut batch, &veth);
        route::hairpin(&mut batch, self.host_interface);
        if self.isolated {
            route::isolate(&mut batch, self.host_interface);
        }
        host.execute(&mut batch)?;
        setting::without_ipv6(self.host_interface)?;
        let link = route::link(&mut namespace.socket, self.interface)?;
        let interface = link.ok_or_else(|| NetworkError::InterfaceVanished { interface: self.interface.to_owned() })?;
        let mut batch = Batch::new();
        route::set_up(&mut batch, interface.index);
        namespace.socket.execute(&mut batch)?;
        let port = self.settle(namespace, &mut host)?;
        Ok(Ends { interface: interface.index, port })
    }

    /// Waits until packets get through. The kernel notices in its own time that a cable has two ends: until then the
    /// bridge does not forward, and a connection that is opened too early takes a second.
    /// The number of the bridge's port.
    fn settle(&self, namespace: &mut Namespace, host: &mut Socket) -> Result<u32, NetworkError> {
        let deadline = Instant::now() + SETTLED;
        loop {
            let links = [
                route::link(&mut namespace.socket, self.interface)?,
                route::link(host, self.host_interface)?,
                route::link_by_index(host, self.bridge)?,
            ];
            let Some(port) = links[1].as_ref().map(|link| link.index) else {
                return Err(NetworkError::InterfaceVanished { interface: self.host_interface.to_owned() });
            };
            if links.iter().flatten().filter(|link| link.operational).count() == links.len() {
                return Ok(port);
            }
            if Instant::now() > deadline {
                tracing::warn!(interface = self.host_interface, "the bridge does not forward to a new container yet");
                return Ok(port);
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Tells the bridge behind which port an endpoint is: who had its hardware address before may still be behind another, until
/// the kernel has taken his namespace down. And tells the host which hardware address goes with the endpoint's
/// addresses.
pub(crate) fn introduce(
    host: &mut Socket,
    (bridge, port): (u32, u32),
    endpoint: &Endpoint,
) -> Result<(), NetworkError> {
    let mut batch = Batch::new();
    route::learn(&mut batch, port, endpoint.mac);
    route::meet(&mut batch, bridge, endpoint.address, endpoint.mac);
    if let Some(ipv6) = endpoint.ipv6 {
        route::meet(&mut batch, bridge, ipv6.address, endpoint.mac);
    }
    Ok(host.execute(&mut batch)?)
}

/// A name for a host's end that was never used before, as far as chance goes.
pub(crate) fn random_name() -> Result<String, NetworkError> {
    Ok(format!("{INTERFACE_PREFIX}{:08x}", u32::from_ne_bytes(random()?)))
}

/// Bytes that nobody can guess.
pub(crate) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], NetworkError> {
    let mut bytes = [0; LENGTH];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(NetworkError::Random(errno.into())),
        }
    }
    Ok(bytes)
}
