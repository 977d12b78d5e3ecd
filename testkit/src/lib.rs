// SPDX-License-Identifier: Apache-2.0
//! What the end-to-end tests stand on: sandboxes, daemons, terminals, fixtures and a count of leftovers.

pub mod cgroup;
pub mod containerd;
pub mod corten;
pub mod daemon;
pub mod docker;
pub mod entries;
pub mod fixtures;
pub mod http;
pub mod internet;
pub mod leftovers;
pub mod mutated;
pub mod process;
pub mod sandbox;
pub mod terminal;
pub mod trace;
pub mod tree;

pub use corten::{Finished, Running};
pub use daemon::Daemon;
