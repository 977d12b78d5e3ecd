// SPDX-License-Identifier: Apache-2.0
//! One nf_tables table of our own, spoken over netlink.
//!
//! The table (family `inet`, the name is the caller's) holds all that Corten asks of the packet filter, and nothing of it
//! is anywhere else: published ports are elements of two maps, so that a packet costs one lookup however many there are;
//! the rules around them depend only on the bridges. [`Firewall::replace`] sets the whole table in one transaction,
//! [`Firewall::publish`] and [`Firewall::withdraw`] change single elements.
//!
//! Nobody else's table is read, changed or reordered. In particular, other tables may still drop what this one accepts.

pub mod connection;
mod error;
mod expression;
#[cfg(test)]
mod golden;
mod message;
mod ruleset;
mod table;

pub use error::FirewallError;
pub use ruleset::{Bridge, Published, Transport};
pub use table::Firewall;
