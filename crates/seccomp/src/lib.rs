// SPDX-License-Identifier: Apache-2.0
//! Seccomp profiles compiled to short BPF programs.
//!
//! [`compile`] turns the OCI runtime specification's `linux.seccomp` (config-linux.md, "Seccomp") into a filter for the
//! kernel; [`default_profile`] is the profile that containers get when nobody says otherwise, and
//! [`parse_docker_profile`] reads the profiles that Docker's `--security-opt seccomp=FILE` takes.
//!
//! What installing a filter costs grows with its length, so the compiler works for few instructions: a binary decision tree
//! over runs of system call numbers that share a verdict. It keeps to the instructions that the kernel can evaluate ahead
//! (Linux 5.11: loads of number and architecture, comparisons), so calls that are always allowed skip the
//! filter altogether.
//!
//! **Architecture Invariant:** pure. Values in, values out; the filter is installed by `sys`.

mod action;
mod arch;
mod args;
mod assemble;
mod calls;
mod compile;
mod default;
mod docker;
mod simulate;
mod table;
mod tree;

#[cfg(test)]
mod tests;

pub use arch::native_arch;
pub use calls::call_name;
pub use compile::{CompileError, Instruction, MAX_INSTRUCTIONS, Program, compile};
pub use default::{default_profile, default_profile_for};
pub use docker::{ProfileError, parse_docker_profile, parse_docker_profile_for};
pub use simulate::{SeccompData, simulate};

/// The specification's architecture names, as [`compile`] takes them.
pub use oci::runtime_spec::Arch;
