// SPDX-License-Identifier: Apache-2.0
//! Why a network namespace has no name server.

use std::io;

use errors::{Classify, Kind, kind_of_io};
use firewall::FirewallError;

/// Why a network namespace has no name server. Nothing was left in it but, perhaps, our own table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// No thread to work in.
    #[error("cannot start the thread that opens name servers' sockets")]
    Thread(#[source] io::Error),
    /// That thread panicked.
    #[error("the thread that opens name servers' sockets has ended")]
    ThreadEnded,
    /// The container's network namespace cannot be entered.
    #[error("cannot enter the container's network namespace")]
    Enter(#[source] sys::Error),
    /// A socket could not be opened.
    #[error("cannot open a socket for names in the container's network namespace")]
    Socket(#[source] io::Error),
    /// Port 53 could not be redirected.
    #[error("cannot redirect the port for names in the container's network namespace")]
    Redirect(#[source] FirewallError),
}

impl Classify for DnsError {
    fn kind(&self) -> Kind {
        match self {
            DnsError::Thread(source) | DnsError::Socket(source) => kind_of_io(source),
            DnsError::Enter(source) => kind_of_io(&source.to_io()),
            DnsError::Redirect(source) => source.kind(),
            DnsError::ThreadEnded => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            DnsError::Redirect(source) => source.hint(),
            _ => None,
        }
    }
}
