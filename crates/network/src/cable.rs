// SPDX-License-Identifier: Apache-2.0
//! Veth pairs: one end in a container's namespace, the other a port of a bridge.

use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use netlink::route::{self, Veth};
use netlink::{Batch, Protocol, Socket};

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

impl Cable<'_> {
    /// Makes the pair, and gives back the number of the container's interface when packets get through.
    pub(crate) fn lay(&self, namespace: &mut Namespace) -> Result<u32, NetworkError> {
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
        self.settle(namespace, &mut host)?;
        Ok(interface.index)
    }

    /// Waits until packets get through. The kernel notices in its own time that a cable has two ends: until then the
    /// bridge does not forward, and a connection that is opened too early takes a second.
    fn settle(&self, namespace: &mut Namespace, host: &mut Socket) -> Result<(), NetworkError> {
        let deadline = Instant::now() + SETTLED;
        loop {
            let links = [
                route::link(&mut namespace.socket, self.interface)?,
                route::link(host, self.host_interface)?,
                route::link_by_index(host, self.bridge)?,
            ];
            if links.iter().flatten().filter(|link| link.operational).count() == links.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                tracing::warn!(interface = self.host_interface, "the bridge does not forward to a new container yet");
                return Ok(());
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
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
