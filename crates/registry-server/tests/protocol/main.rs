// SPDX-License-Identifier: Apache-2.0
//! The registry as its clients see it: over a socket, byte by byte.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access;
mod discovery;
mod hostile;
mod mirror;
mod pull;
mod push;
mod rights;
mod server;
mod smuggling;
