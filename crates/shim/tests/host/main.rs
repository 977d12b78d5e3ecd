// SPDX-License-Identifier: Apache-2.0
//! Real shims with real containers on this host. Needs root and a static busybox. Every test has its own directory,
//! its own control groups and its own zygote, and checks that nothing of it is left.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a panic is how a test fails")]

mod exec;
mod harness;
mod lifecycle;
mod protocol;
mod streams;
