// SPDX-License-Identifier: Apache-2.0
//! Networks: the bridge driver, address leases, published ports, prepared namespaces.
//!
//! A [`Network`] is one bridge with its subnet. Nothing of it exists before the first [`Network::attach`]; then there are
//!
//! - the bridge, with the subnet's first address; `net.ipv4.ip_forward` is switched on if it was off;
//! - one nf_tables table (see `firewall`), with one map element per published port;
//! - a small pool of prepared network namespaces, each with its veth pair in place, so that attaching a container only
//!   sets an address and a route. The pool is refilled by a thread of its own, and lives in descriptors alone: whatever
//!   way the process ends, the kernel removes the namespaces and with them the interfaces.
//!
//! **Published ports** need no proxy process: the packet filter redirects them, over loopback too. For as long as one
//! is published, a socket bound to it (and never listening) keeps other programs of the host from taking it; the
//! redirection comes before any socket is looked up, so the socket itself never sees a connection.
//!
//! **IPv6** is not offered yet: the containers' interfaces have it switched off, which also spares them the wait for
//! duplicate address detection. `::1` works inside a container.

mod bridge;
mod claim;
mod config;
mod endpoint;
mod error;
mod lease;
mod namespace;
mod network;
mod pool;
mod port;
mod port_holder;
mod setting;
mod subnet;

pub use config::{AddressPool, Config};
pub use endpoint::{Description, Endpoint, PortMapping, Protocol, PublishedPort};
pub use error::NetworkError;
pub use network::Network;
pub use port_holder::PortHolder;
pub use subnet::Subnet;
