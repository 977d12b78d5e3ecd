// SPDX-License-Identifier: Apache-2.0
//! The typed client of the daemon: one method per thing that can be asked, over HTTP on a unix socket, TCP with TLS, or
//! SSH.
//!
//! The command line is built on nothing but this crate, so whatever it can do, an API caller can do. When the endpoint
//! is the default one and nothing answers, the client starts the daemon ([`autostart`]).
//!
//! **Architecture Invariant:** a current-thread runtime is enough, and nothing is set up before the first request:
//! the client's part of a `run` has a budget of 1.5 ms.

mod address;
pub mod autostart;
mod body;
mod containers;
pub mod contexts;
mod endpoint;
mod error;
mod events;
mod files;
mod images;
mod logs;
mod networks;
mod session;
mod ssh;
mod system;
mod tls;
mod transport;
mod trust;
mod url;
mod volumes;

pub use address::{Address, SshAddress, TcpAddress};
pub use containers::{CommitOptions, ListOptions, LogOptions, RunAnswer, WaitCondition};
pub use endpoint::{DEFAULT_DATA_ROOT, DEFAULT_EXEC_ROOT, Endpoint, Wish, context_in_use};
pub use error::ClientError;
pub use events::EventStream;
pub use files::PathArchive;
pub use images::{Filter, Import, Untagged};
pub use logs::{LogStream, Output};
pub use session::{Event, Exit, Session, SessionReader, SessionWriter, Started};
pub use tls::{TlsError, TlsFiles};
pub use transport::{Client, Stream};
