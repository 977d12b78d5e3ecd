// SPDX-License-Identifier: Apache-2.0
//! Log drivers: where containers' output goes, with which options; reading it back; sending it on.
//!
//! Every driver but `none` has a log on this host, which the shim writes and `logs` reads. `json-file` and `local` are
//! nothing else; of the others, [`forward`] sends it on. A driver is a file under `remote` that says what becomes of
//! lines, in bytes; `remote/transport` has the connections.
//!
//! What is wished is checked when a container is created, and kept in its record with the daemon's defaults filled in: a
//! later default changes no container.
//!
//! **Architecture Invariants**
//! - No engine here: whose log it is is told as a [`Subject`], and where its container stands through [`Life`].
//! - The shim knows nothing of readers, and no reader or server delays a container.

mod choice;
mod error;
mod forward;
mod life;
mod options;
mod pick;
mod read;
mod remote;
mod subject;
mod tag;

pub use choice::{Driver, LogChoice, Settings};
pub use error::LoggingError;
pub use forward::{Forward, Forwarding, PATIENCE, forward};
pub use life::{Life, Stage};
pub use read::watch::Watch;
pub use read::{LogLine, LogOptions, LogStream};
pub use subject::Subject;
