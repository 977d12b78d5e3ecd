// SPDX-License-Identifier: Apache-2.0
//! Images over the real stores: real registries and tools as peers, and one registry that lies. Needs root: unpacked
//! layers hold owners and overlayfs's marks.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod archives;
mod bad_input;
mod collect;
mod commit;
mod embedded;
mod fixture;
mod import;
mod peers;
mod platforms;
mod pull;
mod push;
mod remove;
mod tiny_registry;
mod trusted;
mod waste;
