// SPDX-License-Identifier: Apache-2.0
//! The server of the OCI distribution protocol (distribution-spec 1.1).
//!
//! A request goes through [`http`] (connections, the path's meaning, one handler), which asks [`auth`] whether it may be
//! and [`storage`] for the rest; an error on the way becomes an answer in [`error`]. What a client says is never believed: names are checked before they become
//! paths, content is visible when its digest matched, and a manifest when all it refers to is there.
//!
//! **Architecture Invariant:** knows no image, container or engine: bytes, digests and what manifests say.

mod access_log;
mod auth;
mod collection;
mod error;
mod http;
mod manifest;
mod metrics;
mod mirror;
mod registry;
mod storage;
mod tls;

pub use access_log::AccessLog;
pub use auth::{Access, Action, HtpasswdError, Policy, PolicyError, TokenError, Tokens, Users};
pub use mirror::{Mirror, MirrorError};
pub use registry::{Collection, Limits, Options, Registry};
pub use storage::StorageError;
pub use tls::{Identity, TlsError};
