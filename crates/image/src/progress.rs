// SPDX-License-Identifier: Apache-2.0
//! How far a pull or a push is.

use oci::Digest;

/// Where one layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits for others to be done.
    Waiting,
    /// Bytes of the blob come in, and are unpacked as they come.
    Downloading {
        /// Bytes here.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// All bytes are here; their digest is being compared.
    Verifying,
    /// The rest is being unpacked.
    Extracting,
    /// It is being compressed anew for a push.
    Compressing,
    /// Bytes of the blob go out.
    Uploading {
        /// Bytes on their way or there.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The registry had it in another repository, and has it in this one now.
    Mounted,
    /// It was here, or in the registry, before.
    Exists,
    /// It is here, verified and unpacked; or it is in the registry.
    Done,
}

/// One step of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The layer: its blob's digest, which [`Digest::short`] makes an id of as Docker shows it.
    pub layer: Digest,
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
