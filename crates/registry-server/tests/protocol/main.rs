// SPDX-License-Identifier: Apache-2.0
//! The registry as its clients see it: over a socket, byte by byte.

mod discovery;
mod hostile;
mod pull;
mod push;
mod server;
