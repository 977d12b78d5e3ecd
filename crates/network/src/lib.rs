// SPDX-License-Identifier: Apache-2.0
//! Networks: the bridge driver, address leases, published ports, prepared namespaces.
//!
//! [`Networks`] are the default bridge and any number of others, each with its subnet. Nothing of one exists before it is
//! first needed; then there are
//!
//! - its bridge, with the subnet's first address; `net.ipv4.ip_forward` is switched on if it was off;
//! - one nf_tables table for all of them (see `firewall`), with one map element per published port and a few set elements
//!   per bridge. Containers of different networks do not reach each other, but for published ports;
//! - a small pool of prepared network namespaces, each with its veth pair on the default bridge in place, so that
//!   attaching a container only sets an address and a route. In other networks interfaces are made when they are asked
//!   for, also in a running container ([`Networks::join`]). The pool is refilled by a thread of its own, and lives in descriptors alone: whatever
//!   way the process ends, the kernel removes the namespaces and with them the interfaces.
//!
//! **Published ports** need no proxy process: the packet filter redirects them, over loopback too. For as long as one
//! is published, a socket bound to it (and never listening) keeps other programs of the host from taking it; the
//! redirection comes before any socket is looked up, so the socket itself never sees a connection.
//!
//! **IPv6** is for networks that are made with it. Everywhere else it is switched off, which also spares containers the wait
//! for duplicate address detection; `::1` works inside all the same. Where there is IPv6, nobody believes a container that
//! says it is a router, nor one that speaks in another's name; and the host itself stays what it was: see `forwarding`.

mod adoption;
mod attachment;
mod bridge;
mod cable;
mod claim;
mod config;
mod endpoint;
mod error;
mod forwarding;
mod id;
mod ip;
mod layout;
mod lease;
mod mac;
mod namespace;
mod neighbour;
mod networks;
mod pool;
mod port;
mod port_holder;
mod running;
mod sandbox;
mod segment;
mod setting;
mod spec;
mod subnet;

pub use config::{AddressPool, Config};
pub use endpoint::{Description, Endpoint, Ipv6Endpoint, PortMapping, Protocol, PublishedPort};
pub use error::NetworkError;
pub use id::{NetworkId, NetworkIdError};
pub use ip::Ip;
pub use layout::{Layout, LayoutWish};
pub use mac::{MacAddress, MacAddressError};
pub use networks::{Join, Networks};
pub use port_holder::PortHolder;
pub use sandbox::Sandbox;
pub use spec::{BridgeSpec, BridgeWish, Traits};
pub use subnet::{AnySubnet, Subnet, SubnetError};
