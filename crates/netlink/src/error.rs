// SPDX-License-Identifier: Apache-2.0
//! What can go wrong between us and the kernel.

use std::io;

use errors::{Classify, Kind, kind_of_io};
use rustix::io::Errno;

use crate::decode::Malformed;

/// A netlink request that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket to speak through.
    #[error("cannot open a netlink socket for {protocol}")]
    Open {
        /// The kernel's part it would have spoken to.
        protocol: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An option that every supported kernel knows was refused.
    #[error("cannot prepare a netlink socket")]
    Option(#[source] sys::Error),
    /// The request did not reach the kernel.
    #[error("cannot ask the kernel to {what}")]
    Send {
        /// The request, in words.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer could not be read.
    #[error("cannot read the kernel's answer to the request to {what}")]
    Receive {
        /// The request, in words.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel said no.
    #[error("cannot {what}{}", explanation(.detail))]
    Refused {
        /// The request, in words.
        what: String,
        /// The kernel's own words, where it has any.
        detail: Option<String>,
        /// The error code.
        #[source]
        source: io::Error,
    },
    /// The answer is not netlink.
    #[error("the kernel's answer to the request to {what} is malformed")]
    Malformed {
        /// The request, in words.
        what: String,
        /// Where it goes wrong.
        #[source]
        source: Malformed,
    },
    /// What was listed changed each time while it was listed.
    #[error("cannot {what}: it changed during each of {attempts} attempts")]
    Unsteady {
        /// The request, in words.
        what: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// A part longer than the 64 KiB that a netlink attribute can hold.
    #[error("cannot {what}: the request has a part longer than 65535 bytes")]
    Oversized {
        /// The request, in words.
        what: String,
    },
}

fn explanation(detail: &Option<String>) -> String {
    detail.as_deref().map(|text| format!(" (kernel: {text})")).unwrap_or_default()
}

impl NetlinkError {
    /// The error code with which the kernel refused, if that is what happened.
    pub fn refusal(&self) -> Option<Errno> {
        match self {
            NetlinkError::Refused { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }
}

impl Classify for NetlinkError {
    fn kind(&self) -> Kind {
        match self {
            NetlinkError::Open { source, .. }
            | NetlinkError::Send { source, .. }
            | NetlinkError::Receive { source, .. } => kind_of_io(source),
            NetlinkError::Refused { source, .. } if Errno::from_io_error(source) == Some(Errno::OPNOTSUPP) => {
                Kind::Unsupported
            }
            NetlinkError::Refused { source, .. } => kind_of_io(source),
            NetlinkError::Unsteady { .. } => Kind::Unavailable,
            NetlinkError::Option(_) | NetlinkError::Malformed { .. } | NetlinkError::Oversized { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        (self.kind() == Kind::PermissionDenied)
            .then(|| "changing the network needs root, or CAP_NET_ADMIN in this network namespace".to_owned())
    }
}
