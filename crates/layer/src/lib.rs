// SPDX-License-Identifier: Apache-2.0
//! Layers (image-spec, `layer.md`): archives decompressed, hashed and unpacked by descriptor, in the form that overlayfs
//! reads as a lower directory.
//!
//! An archive is hostile until proved otherwise. What it cannot do, whatever it says:
//! - reach anything outside the directory it is unpacked into: every name is resolved below that directory's descriptor
//!   (openat2(2), `RESOLVE_IN_ROOT`), also through symbolic links that the archive itself planted;
//! - make this process hold more than its buffer and a bounded amount of metadata, or write more than [`Limits`] allow;
//! - speak to overlayfs by other means than whiteouts: its private extended attributes are dropped.
//!
//! What an archive may do, because images need it, and what therefore has to be held elsewhere: set owners and set-id
//! bits, and make device nodes. The directory must not be reachable by other users of the host (the snapshotter keeps it
//! below one of mode 0700), and a container's access to devices is decided by its device rules.
//!
//! **Architecture Invariant:** no async, no network, no knowledge of images or snapshots.

mod compress;
mod compression;
mod error;
mod extract;
mod header;
mod ids;
mod implied;
mod index;
mod located;
mod members;
mod metadata;
mod name;
mod pack;
mod pax;
mod reader;
mod remove;
mod sparse;
mod stream;
mod tree;
mod usage;
mod writer;

use std::io::Read;
use std::os::fd::BorrowedFd;

use oci::Digest;

pub use compress::{Gzip, compress, compress_at, levels};
pub use compression::{Decoder, decompress, decompressed, detect};
pub use error::{EntryName, FormatError, Refusal, UnpackError};
pub use extract::{Extraction, Owners, extract};
pub use ids::Ids;
pub use index::{Indexed, Node, NodeId, NodeKind, Nodes, Obstacle, Xattrs, index};
pub use located::{Located, locate};
pub use members::Members;
pub use name::link_target;
pub use oci::media_type::Compression;
pub use pack::{Form, PackError, pack, pack_as, pack_one};
pub use pax::Time;
pub use reader::{Entry, Kind};
pub use remove::remove_tree;
pub use usage::{disk_usage, file_usage};
pub use writer::Writer;

use reader::Archive;
use tree::{Manner, Tree};

/// What an archive may ask for. The default is far above honest images.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of all files together, holes included; and, counted apart, bytes of the archive. Default 64 GiB.
    pub max_bytes: u64,
    /// Headers in the archive. Default 4 Mi.
    pub max_entries: u64,
    /// Bytes of one name or link target. Default 4095, which is what the kernel accepts.
    pub max_path: usize,
    /// Bytes of one extended header: long names, PAX records with extended attributes. Default 1 MiB.
    pub max_extended_header: u64,
    /// Whether `/etc/passwd` means `etc/passwd` below the target. Otherwise it is refused. Default false.
    pub absolute_names: bool,
    /// Whether an archive must end with the marker that POSIX asks for. To be switched off where a digest proves that
    /// nothing is missing: some builders leave the marker out. Default true.
    pub end_marker: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_bytes: 64 << 30,
            max_entries: 4 << 20,
            max_path: 4095,
            max_extended_header: 1 << 20,
            absolute_names: false,
            end_marker: true,
        }
    }
}

/// What an archive held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the whole uncompressed stream, padding and anything behind the end of the archive included.
    pub diff_id: Digest,
    /// Bytes of all regular files, holes included.
    pub bytes: u64,
    /// Bytes of the uncompressed stream.
    pub archive_bytes: u64,
    /// Files, directories, links, whiteouts and so on.
    pub entries: u64,
    /// The root directory is opaque: the layers below are hidden entirely. overlayfs does not look for the mark on a
    /// layer's root, so whoever mounts must leave those layers out.
    pub opaque_root: bool,
    /// Extended attributes that were left out: overlayfs's own and SELinux labels, which an image must not choose, and
    /// those that the file system does not support.
    pub dropped_xattrs: u64,
    /// Directories that the archive uses and does not describe, sorted; the root's path is empty. Over a layer that has
    /// them they are what they are there.
    pub implied: Vec<Vec<u8>>,
}

/// Unpacks the uncompressed archive `tar` into the empty directory `into`, reading it to its end. On an error the
/// directory holds an unspecified part of the layer, and nothing outside was touched.
///
/// Whiteouts become what overlayfs expects in a lower directory. Owners, modes, times, extended attributes, hard links,
/// holes and special files are restored; the last of several entries of one name counts.
///
/// # Errors
/// [`UnpackError`]; its kind is `Corrupt` for anything that is the archive's fault, `NoSpace` for a full disk.
pub fn unpack(tar: impl Read, into: BorrowedFd<'_>, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let mut archive = Archive::new(tar, limits);
    let mut tree = Tree::new(into, limits, Manner::LAYER);
    let mut entry = Entry::default();
    while archive.next(&mut entry)? {
        tree.add(&entry, &mut archive)?;
    }
    let done = tree.finish()?;
    let (diff_id, archive_bytes) = archive.finish()?;
    Ok(Unpacked {
        diff_id,
        bytes: archive.bytes(),
        archive_bytes,
        entries: archive.entries(),
        opaque_root: done.opaque_root,
        dropped_xattrs: done.dropped_xattrs,
        implied: done.implied,
    })
}

/// Reads the archive as [`unpack`] does and checks its form and the limits, without writing anything. What depends on
/// a file system (names too long for it, links to nowhere) is not found.
pub fn inspect(tar: impl Read, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let mut archive = Archive::new(tar, limits);
    let mut entry = Entry::default();
    while archive.next(&mut entry)? {
        name::check(&entry, limits)?;
    }
    let (diff_id, archive_bytes) = archive.finish()?;
    let (bytes, entries) = (archive.bytes(), archive.entries());
    Ok(Unpacked { diff_id, bytes, archive_bytes, entries, opaque_root: false, dropped_xattrs: 0, implied: Vec::new() })
}
