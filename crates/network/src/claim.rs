// SPDX-License-Identifier: Apache-2.0
//! One process per bridge and table.
//!
//! A socket bound to an abstract name (unix(7)) stands for the claim: such names belong to a network namespace, as the
//! bridge and the table do, and are free again the moment their process is gone, however it went.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::config::Config;
use crate::error::NetworkError;

/// The claim to one name; given up when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    _socket: UnixDatagram,
}

impl Claim {
    /// Claims the configured bridge and table.
    pub(crate) fn both(config: &Config) -> Result<[Claim; 2], NetworkError> {
        Ok([Claim::to("bridge", &config.bridge)?, Claim::to("table", &config.table)?])
    }

    fn to(what: &'static str, name: &str) -> Result<Claim, NetworkError> {
        let bind = || UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("corten/{what}/{name}"))?);
        match bind() {
            Ok(socket) => Ok(Claim { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(NetworkError::Managed { what, name: name.to_owned() })
            }
            Err(source) => Err(NetworkError::Claim { what, name: name.to_owned(), source }),
        }
    }
}
