// SPDX-License-Identifier: Apache-2.0
//! The Docker Engine HTTP API (with and without the version in the path; `docs/api.md` says which routes) and Corten's own routes.
//!
//! A request goes through [`server`] (connections, the version in the path), one handler in [`routes`] (validate, call
//! one method of the engine, translate the answer) and, if it failed, through [`error`], where every error becomes a
//! status and JSON.
//!
//! **Architecture Invariant:** no logic. A route that needs some belongs into the engine.

mod convert;
mod download;
mod error;
mod extract;
mod filters;
mod hijack;
mod metrics;
mod routes;
mod server;
mod upload;
mod version;
mod websocket;
mod worker;

pub use error::ApiError;
pub use metrics::serve_metrics;
pub use server::{
    AuthorizationError, AuthorizationHook, ListenError, Listener, Protection, ServerTls, TlsError, TlsFiles, serve,
};
