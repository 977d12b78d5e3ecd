// SPDX-License-Identifier: Apache-2.0
//! The host lane: real containers from a real bundle, looked at from inside and outside. Needs root.
#![allow(clippy::disallowed_methods, reason = "tests start processes")]

mod bundle;
mod escape;
mod exec;
mod files;
mod identity;
mod lifecycle;
mod namespaces;
mod terminal;
