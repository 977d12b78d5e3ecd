// SPDX-License-Identifier: Apache-2.0
//! System calls: the only room with unsafe code.
//!
//! `rustix` is the first choice for a system call; here is what it lacks, one purpose per file. Every wrapper takes
//! borrowed or owned descriptors, never numbers, and returns an [`Error`] that carries all arguments of the call and
//! reads like a line of strace.
//!
//! **Architecture Invariant:** no policy. A wrapper does what its name says and decides nothing.
#![allow(unsafe_code)]

pub mod bpf;
pub mod capability;
pub mod clock;
#[cfg(target_arch = "x86_64")]
pub mod early;
mod error;
pub mod exec;
pub mod fds;
pub mod file_ids;
pub mod keyring;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod personality;
pub mod prctl;
pub mod process;
pub mod scheduling;
pub mod seccomp;
pub mod signal;
pub mod socket;

pub use error::{Error, Result};
