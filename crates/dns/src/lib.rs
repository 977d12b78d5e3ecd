// SPDX-License-Identifier: Apache-2.0
//! The name server that containers on user-defined networks find at 127.0.0.11, as Docker's containers do.
//!
//! A [`Server`] belongs to a daemon, a [`Serving`] to one network namespace. Its sockets are opened in that namespace, on
//! ports of 127.0.0.11 that nobody asked for, and a table of ours in there redirects port 53 of that one address to them:
//! so a container may have a name server of its own on every address, and a new daemon only has to redirect anew.
//!
//! What a name means is asked of [`Names`], which the engine implements; what it does not know goes to the upstream
//! servers, byte for byte but for the message's number.
//!
//! **Bounds.** A question has at most [`LONGEST_QUESTION`] bytes. A namespace has so many questions under way upstream,
//! and so many connections; all namespaces together have a bound, too. What comes beyond is dropped, and asked again by
//! who wants to know. Nobody but the namespace's own processes reaches 127.0.0.11, so no answer goes to a stranger.
//!
//! **Architecture Invariant:** one thread enters namespaces, whatever the number of containers, and opens sockets there;
//! all else are tasks of the daemon's runtime, and a container costs two of them and three descriptors.

mod answer;
mod error;
mod forward;
mod message;
mod opener;
mod server;
mod tcp;
mod udp;

use std::net::{IpAddr, Ipv4Addr};

use oci::ContainerId;

pub use error::DnsError;
pub use server::{Server, Serving};

/// Where containers find their name server.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// More bytes no question has: the longest name, and an option or two.
pub const LONGEST_QUESTION: usize = 4096;

/// What names mean. Asked from tasks of the daemon's runtime: an answer must not take long.
pub trait Names: Send + Sync + 'static {
    /// The addresses that `asker` reaches `name` by (without a dot at its end, in small letters); `None` if the name means
    /// nothing here, and an upstream server may know it.
    fn addresses(&self, asker: &ContainerId, name: &str) -> Option<Vec<IpAddr>>;
    /// The name of whom `asker` reaches by `address`.
    fn name_of(&self, asker: &ContainerId, address: IpAddr) -> Option<String>;
    /// Whether names that mean nothing here may be asked of upstream servers for `asker`: not for one that only has
    /// internal networks.
    fn may_forward(&self, asker: &ContainerId) -> bool;
}

/// A name server that knows the rest of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// Its address; it listens on port 53.
    pub address: IpAddr,
    /// Whether it is asked from the host's network namespace rather than from the container's.
    pub from_host: bool,
}

impl Upstream {
    /// A server that the host itself asks: on the host's loopback, or by IPv6, which not all containers have, it can only
    /// be asked from there.
    pub fn of_host(address: IpAddr) -> Upstream {
        Upstream { address, from_host: address.is_loopback() || address.is_ipv6() }
    }

    /// A server that was named for one container.
    pub fn of_container(address: IpAddr) -> Upstream {
        Upstream { address, from_host: address.is_ipv6() }
    }
}
