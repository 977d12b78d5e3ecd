// SPDX-License-Identifier: Apache-2.0
//! What can go wrong when a shim is started or spoken to.

use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind, kind_of_io};

use crate::frame::FrameError;

/// Why a shim could not be started or spoken to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShimError {
    /// The zygote's program could not be started.
    #[error("start the zygote {program:?}")]
    StartZygote {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The zygote does not answer, or died twice in a row.
    #[error("ask the zygote for a shim")]
    Zygote(#[source] io::Error),
    /// The zygote answered, and could not clone itself.
    #[error("clone a shim from the zygote")]
    Clone(#[source] io::Error),
    /// The shim was started and could not be told what to run.
    #[error("send the container's description to its shim")]
    Send(#[source] FrameError),
    /// The namespaces that a container is to find could not be made.
    #[error("make the container's user namespace")]
    Namespaces(#[source] errors::Report),
    /// A description or request that cannot be written as JSON.
    #[error("write {what} as JSON")]
    Encode {
        /// What was to be written.
        what: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Nobody listens in the shim's directory: the container does not run.
    #[error("the container's shim does not listen in {dir:?}")]
    NotRunning {
        /// The shim's directory.
        dir: PathBuf,
        /// What connecting said.
        #[source]
        source: io::Error,
    },
    /// The shim's directory or socket cannot be opened.
    #[error("connect to the shim in {dir:?}")]
    Connect {
        /// The shim's directory.
        dir: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Classify for ShimError {
    fn kind(&self) -> Kind {
        match self {
            ShimError::StartZygote { source: e, .. } | ShimError::Clone(e) => kind_of_io(e),
            ShimError::Zygote(_) => Kind::Unavailable,
            ShimError::Send(e) => e.kind(),
            ShimError::Namespaces(report) => report.kind,
            ShimError::Encode { .. } => Kind::InvalidArgument,
            ShimError::NotRunning { .. } => Kind::Conflict,
            ShimError::Connect { source, .. } => kind_of_io(source),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ShimError::Namespaces(report) => report.hint.clone(),
            ShimError::NotRunning { .. } => Some("start the container first".to_owned()),
            _ => None,
        }
    }
}
