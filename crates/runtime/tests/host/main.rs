// SPDX-License-Identifier: Apache-2.0
//! The host lane: real containers from a real bundle, looked at from inside and outside. Needs root.
#![allow(clippy::disallowed_methods, reason = "tests start processes")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its fixtures too")]

mod attributes;
mod bundle;
mod dry_run;
mod escape;
mod exec;
mod fake_systemd;
// Registers and numbers of system calls are this architecture's; what is tested there is the same on all.
#[cfg(target_arch = "x86_64")]
mod faults;
mod files;
mod hooks;
mod hostile;
mod identity;
mod lifecycle;
mod mounts;
mod namespaces;
mod notify;
mod observing;
mod operations;
mod peers;
mod rootless;
mod systemd;
mod terminal;
mod time_namespace;
#[cfg(target_arch = "x86_64")]
mod tracer;
mod update;
mod user_namespace;
