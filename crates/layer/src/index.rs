// SPDX-License-Identifier: Apache-2.0
//! An archive's tree in memory, with the places of the files' data in the archive: what [`crate::unpack`] would have made
//! of it on a disk. For layers that are kept as their archives.
//!
//! The rules are those of `tree.rs`, where the kernel resolves names; here it is done by hand (`index/nodes.rs`). What an
//! archive does to the tree stands in `index/place.rs`. `tests/hostile.rs` gives the same archives to both, and
//! `snapshot/tests/exact.rs` compares what comes of them file by file.

mod nodes;
mod place;
mod xattrs;

use std::io::{self, Read};

use crate::reader::{Archive, Entry};
use crate::{Limits, UnpackError, Unpacked};

pub use nodes::{Node, NodeId, NodeKind, Nodes};
pub use xattrs::Xattrs;

/// Bytes of memory that a tree may take: more than a million files. A larger layer is better unpacked.
const MAX_MEMORY: usize = 256 << 20;

/// What [`index`] made of an archive.
#[derive(Debug)]
pub struct Indexed {
    /// What the archive held; of attributes that were left out only those up to an obstacle are counted, and with one no
    /// directory counts as implied.
    pub unpacked: Unpacked,
    /// The tree, where it can be had without unpacking.
    pub nodes: Result<Nodes, Obstacle>,
}

/// Why an archive has to be unpacked. It may still be one that is refused then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A sparse file: its data is not in one piece.
    #[error("it has a sparse file")]
    Sparse,
    /// An extended attribute that only the kernel can judge or store: an access control list, a namespaced capability.
    #[error("it has an extended attribute that a file system must judge")]
    Xattr,
    /// Too many files to keep their names in memory.
    #[error("it has too many files")]
    Memory,
}

/// Reads the uncompressed archive `tar` to its end, and puts its tree together. `keep` gets all of its bytes in their
/// order, some at a time: always as many until the end, a multiple of 64 KiB.
///
/// # Errors
/// As [`crate::unpack`], and [`UnpackError::Keep`] when `keep` fails. Where there is an [`Obstacle`], what only unpacking
/// finds is not found.
pub fn index(
    tar: impl Read,
    limits: &Limits,
    mut keep: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<Indexed, UnpackError> {
    let mut archive = Archive::kept(tar, &mut keep, limits);
    let mut tree = place::Tree::new(limits, MAX_MEMORY);
    let mut entry = Entry::default();
    let mut obstacle = None;
    while archive.next(&mut entry)? {
        match obstacle {
            None => obstacle = tree.add(&entry, archive.position())?.err(),
            Some(_) => crate::name::check(&entry, limits)?,
        }
    }
    let done = tree.finish(obstacle.is_none())?;
    let (diff_id, archive_bytes) = archive.finish()?;
    let unpacked = Unpacked {
        diff_id,
        bytes: archive.bytes(),
        archive_bytes,
        entries: archive.entries(),
        opaque_root: done.opaque_root,
        dropped_xattrs: done.dropped_xattrs,
        implied: done.implied,
    };
    Ok(Indexed { unpacked, nodes: obstacle.map_or(Ok(done.nodes), Err) })
}
