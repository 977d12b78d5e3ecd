// SPDX-License-Identifier: Apache-2.0
//! The host lane: real containers from a real bundle, looked at from inside and outside. Needs root.
#![allow(clippy::disallowed_methods, reason = "tests start processes")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its fixtures too")]

mod attributes;
mod bundle;
mod escape;
mod exec;
mod files;
mod hooks;
mod identity;
mod lifecycle;
mod mounts;
mod namespaces;
mod notify;
mod rootless;
mod terminal;
mod time_namespace;
mod user_namespace;
