// SPDX-License-Identifier: Apache-2.0
//! The bridge network in a real kernel. Each test plays the host in a network namespace of its own; needs root.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helper functions")]

mod connectivity;
mod ipv6;
mod lab;
mod lifetime;
mod ports;
mod several;
