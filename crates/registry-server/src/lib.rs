// SPDX-License-Identifier: Apache-2.0
//! The server of the OCI distribution protocol (distribution-spec 1.1).
//!
//! A request goes through [`http`] (connections, the path's meaning, one handler), which asks [`storage`]; an error on
//! the way becomes an answer in [`error`]. What a client says is never believed: names are checked before they become
//! paths, content is visible when its digest matched, and a manifest when all it refers to is there.
//!
//! **Architecture Invariant:** knows no image, container or engine: bytes, digests and what manifests say.

mod collection;
mod error;
mod http;
mod manifest;
mod registry;
mod storage;

pub use registry::{Collection, Limits, Options, Registry};
pub use storage::StorageError;
