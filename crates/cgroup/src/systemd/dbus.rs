// SPDX-License-Identifier: Apache-2.0
//! A small D-Bus client (D-Bus Specification 0.41): what talking to systemd takes, synchronous and on one thread.
//!
//! [`Value`] and [`Message`] are pure: bytes in and out. [`Bus`] is the connection.

mod bus;
mod message;
mod value;

pub use bus::{Address, Bus, BusError};
pub use message::{Kind, Message};
pub use value::{Malformed, Value};
