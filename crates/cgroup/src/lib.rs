// SPDX-License-Identifier: Apache-2.0
//! Control groups, v1, hybrid and v2: create, limit, join, observe, kill, remove.
//!
//! [`Host::probe`] looks once at what the host has mounted; [`Host::create`] makes a [`Cgroup`], one directory in each
//! of the host's hierarchies; everything else is a method of that. The caller never needs to know which version the host has:
//! a container's first process is cloned with [`Cgroup::clone_into`] where that is something, and writes `0` to each of
//! [`Cgroup::join_files`] where there are any.
//!
//! **Architecture Invariant:** only cgroups that the caller names are ever touched, every file is opened relative to the
//! descriptor of its directory, and what is written for a given set of limits is planned first ([`limits`] is pure).

mod below;
mod control;
mod controller;
mod create;
mod detail;
mod error;
mod group;
mod host;
mod kill;
mod limits;
mod mounts;
mod oom;
mod owner;
mod path;
mod preview;
mod remove;
mod stats;
pub mod systemd;

pub use below::Below;
pub use controller::Controller;
pub use detail::{Detail, DeviceCount, HugePages, MemoryUse, Pressure, PressureLine};
pub use error::CgroupError;
pub use group::{Cgroup, Shown};
pub use host::{Description, Host, Mode, is_frozen};
pub use oom::OomWatch;
pub use path::{CgroupPath, PathError};
pub use preview::{LimitWrite, Preview};
pub use stats::{BlockIo, Stats};
