// SPDX-License-Identifier: Apache-2.0
//! What the end-to-end tests stand on: sandboxes, daemons, terminals, fixtures and a count of leftovers.

pub mod process;
