// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with the table.

use errors::{Classify, Kind};
use netlink::NetlinkError;
use rustix::io::Errno;

/// Why the table is not as it should be. A transaction that fails changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The packet filter could not be spoken to.
    #[error("cannot reach the kernel's packet filter")]
    Open(#[source] NetlinkError),
    /// The table could not be set.
    #[error("cannot set up the packet filter table inet {table}")]
    Replace {
        /// The table's name.
        table: String,
        /// What the kernel refused.
        #[source]
        source: NetlinkError,
    },
    /// A port could not be published, or no longer published.
    #[error("cannot change the published ports in the packet filter table inet {table}")]
    Ports {
        /// The table's name.
        table: String,
        /// What the kernel refused.
        #[source]
        source: NetlinkError,
    },
    /// A bridge could not be served, or no longer served.
    #[error("cannot change the bridges in the packet filter table inet {table}")]
    Bridges {
        /// The table's name.
        table: String,
        /// What the kernel refused.
        #[source]
        source: NetlinkError,
    },
    /// The tracked connections could not be listed or forgotten.
    #[error("cannot end connections of the past")]
    Connections(#[source] NetlinkError),
    /// The table could not be deleted.
    #[error("cannot delete the packet filter table inet {table}")]
    Delete {
        /// The table's name.
        table: String,
        /// What the kernel refused.
        #[source]
        source: NetlinkError,
    },
}

impl FirewallError {
    fn cause(&self) -> &NetlinkError {
        match self {
            FirewallError::Open(source)
            | FirewallError::Connections(source)
            | FirewallError::Replace { source, .. }
            | FirewallError::Ports { source, .. }
            | FirewallError::Bridges { source, .. }
            | FirewallError::Delete { source, .. } => source,
        }
    }

    /// Whether the table, a map or an element that should be there is not: somebody emptied the packet filter.
    pub fn is_missing(&self) -> bool {
        self.cause().refusal() == Some(Errno::NOENT)
    }
}

impl Classify for FirewallError {
    fn kind(&self) -> Kind {
        match self {
            // What is not found here is a part of the kernel: nothing that a user could have named.
            FirewallError::Replace { source, .. } if source.refusal() == Some(Errno::NOENT) => Kind::Unsupported,
            _ => self.cause().kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        if self.kind() == Kind::Unsupported {
            return Some("the kernel needs nf_tables with the inet family, nat, masquerade and fib".to_owned());
        }
        self.cause().hint()
    }
}
