// SPDX-License-Identifier: Apache-2.0
//! The table, and what may be done to it.

use netlink::{Batch, NetlinkError, Protocol, Socket};
use rustix::io::Errno;

use crate::error::FirewallError;
use crate::message::Transaction;
use crate::ruleset::{self, Bridge, Published, Transit};

/// Our table, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Firewall {
    socket: Socket,
    table: String,
}

impl Firewall {
    /// Connects to the packet filter; changes nothing yet.
    pub fn open(table: &str) -> Result<Firewall, FirewallError> {
        let socket = Socket::open(Protocol::Netfilter).map_err(FirewallError::Open)?;
        Ok(Firewall { socket, table: table.to_owned() })
    }

    /// Makes the table say exactly this, whatever it said before and whether or not there was one. No packet sees
    /// anything in between.
    pub fn replace(
        &mut self,
        bridges: &[Bridge],
        published: &[Published],
        transit: Transit,
    ) -> Result<(), FirewallError> {
        let mut batch = replacement(&self.table, bridges, published, transit);
        self.commit(&mut batch).map_err(|source| FirewallError::Replace { table: self.table.clone(), source })
    }

    /// Makes the table redirect exactly these ports, each on one address, for what begins in the table's own network
    /// namespace. It has nothing else then.
    pub fn replace_within(&mut self, redirected: &[Published]) -> Result<(), FirewallError> {
        let mut transaction = emptied(&self.table);
        ruleset::write_within(&mut transaction, redirected);
        let mut batch = transaction.end();
        self.commit(&mut batch).map_err(|source| FirewallError::Replace { table: self.table.clone(), source })
    }

    /// Serves another bridge; one that is served already makes it fail.
    pub fn add_bridge(&mut self, bridge: &Bridge) -> Result<(), FirewallError> {
        self.change_bridge(bridge, ruleset::add_bridge)
    }

    /// Serves a bridge no longer; one that is not served makes it fail (see [`FirewallError::is_missing`]).
    pub fn remove_bridge(&mut self, bridge: &Bridge) -> Result<(), FirewallError> {
        self.change_bridge(bridge, ruleset::remove_bridge)
    }

    /// Publishes ports; one that is published already makes it fail.
    pub fn publish(&mut self, ports: &[Published]) -> Result<(), FirewallError> {
        self.change(ports, ruleset::add)
    }

    /// Withdraws published ports; one that is not published makes it fail (see [`FirewallError::is_missing`]).
    pub fn withdraw(&mut self, ports: &[Published]) -> Result<(), FirewallError> {
        self.change(ports, ruleset::remove)
    }

    /// Deletes the table; that there is none is as good.
    pub fn delete(&mut self) -> Result<(), FirewallError> {
        let mut transaction = Transaction::begin(&self.table);
        transaction.delete_table();
        let mut batch = transaction.end();
        match self.commit(&mut batch) {
            Err(error) if error.refusal() == Some(Errno::NOENT) => Ok(()),
            other => other.map_err(|source| FirewallError::Delete { table: self.table.clone(), source }),
        }
    }

    fn change(
        &mut self,
        ports: &[Published],
        write: impl FnOnce(&mut Transaction<'_>, &[Published]),
    ) -> Result<(), FirewallError> {
        if ports.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::begin(&self.table);
        write(&mut transaction, ports);
        let mut batch = transaction.end();
        self.commit(&mut batch).map_err(|source| FirewallError::Ports { table: self.table.clone(), source })
    }

    fn change_bridge(
        &mut self,
        bridge: &Bridge,
        write: impl FnOnce(&mut Transaction<'_>, &Bridge),
    ) -> Result<(), FirewallError> {
        let mut transaction = Transaction::begin(&self.table);
        write(&mut transaction, bridge);
        let mut batch = transaction.end();
        self.commit(&mut batch).map_err(|source| FirewallError::Bridges { table: self.table.clone(), source })
    }

    fn commit(&mut self, batch: &mut Batch) -> Result<(), NetlinkError> {
        self.socket.execute(batch)
    }
}

pub(crate) fn replacement(table: &str, bridges: &[Bridge], published: &[Published], transit: Transit) -> Batch {
    let mut transaction = emptied(table);
    ruleset::write(&mut transaction, bridges, published, transit);
    transaction.end()
}

/// A transaction that begins with an empty table. Creating first makes the deletion succeed where there was none.
fn emptied(table: &str) -> Transaction<'_> {
    let mut transaction = Transaction::begin(table);
    transaction.create_table();
    transaction.delete_table();
    transaction.create_table();
    transaction
}
