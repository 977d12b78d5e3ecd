// SPDX-License-Identifier: Apache-2.0
//! The host lane: real containers from a real bundle, looked at from inside and outside. Needs root.
#![allow(clippy::disallowed_methods, reason = "tests start processes")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its fixtures too")]

mod bundle;
mod dry_run;
mod escape;
mod exec;
// Registers and numbers of system calls are this architecture's; what is tested there is the same on all.
#[cfg(target_arch = "x86_64")]
mod faults;
mod files;
mod hostile;
mod identity;
mod lifecycle;
mod namespaces;
mod terminal;
#[cfg(target_arch = "x86_64")]
mod tracer;
