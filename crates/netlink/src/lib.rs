// SPDX-License-Identifier: Apache-2.0
//! Netlink messages: encoding, sockets, routes and links.
//!
//! [`Batch`] collects requests, a [`Socket`] sends them in one call and waits for the kernel's verdict; a refusal names
//! the request and carries the kernel's own explanation. [`route`] speaks rtnetlink(7); nf_tables is in `firewall`.
//! Decoding never panics, whatever bytes arrive.

mod decode;
mod encode;
mod error;
pub mod route;
mod socket;

pub use decode::{Attribute, Malformed, Message, attributes, messages};
pub use encode::{Batch, Body};
pub use error::NetlinkError;
pub use socket::{Protocol, Socket};

/// Flags of a request (netlink(7)); `NLM_F_REQUEST` is always added, `NLM_F_ACK` where it is wanted.
pub mod flags {
    /// Create the object if it does not exist.
    pub const CREATE: u16 = 0x400;
    /// Refuse if it exists.
    pub const EXCLUSIVE: u16 = 0x200;
    /// Replace what exists.
    pub const REPLACE: u16 = 0x100;
}
