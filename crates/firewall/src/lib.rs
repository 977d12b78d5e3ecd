// SPDX-License-Identifier: Apache-2.0
//! One nf_tables table of our own, spoken over netlink.
//!
//! The table (family `inet`, the name is the caller's) holds all that Corten asks of the packet filter, and nothing of it
//! is anywhere else: published ports are elements of two maps, bridges and their networks of a few sets, so that a packet
//! costs the same few lookups however many there are; the rules around them never change. [`Firewall::replace`] sets the
//! whole table in one transaction, the other methods change single elements.
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
pub use ruleset::{Bridge, Published, Transit, Transport};
pub use table::Firewall;
