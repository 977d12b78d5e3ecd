// SPDX-License-Identifier: Apache-2.0
//! How far a copy is.

use oci::Digest;

/// Where one blob stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its bytes are on their way.
    Copying {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The destination took it from another repository of its own.
    Mounted,
    /// The destination had it.
    Exists,
    /// It is at the destination.
    Done,
}

/// One step of one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The blob, by its digest at the source.
    pub blob: Digest,
    /// Where it stands now.
    pub status: Status,
}

/// Whoever wants to know. Called often and from several threads: it must return quickly.
pub trait Progress: Send + Sync {
    /// `event` has happened.
    fn event(&self, event: Event);
}

/// Nobody wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn event(&self, _event: Event) {}
}
