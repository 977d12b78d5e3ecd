// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with layers and mounts.

use std::io;
use std::path::PathBuf;

use erofs::WriteError;
use errors::{Classify, Kind, kind_of_io};
use layer::UnpackError;
use oci::{Digest, Mismatch};
use rustix::io::Errno;

/// A failed operation of a snapshotter.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The system refused.
    #[error("cannot {operation} {path:?}")]
    System {
        /// What was tried: a verb.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An archive that cannot be unpacked.
    #[error("cannot unpack the layer {diff_id}")]
    Unpack {
        /// The layer.
        diff_id: Digest,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// An archive that is not the layer's.
    #[error("the layer has the diff ID {}, expected {}", .0.found, .0.expected)]
    Digest(Box<Mismatch>),
    /// A layer that is not here.
    #[error("no layer {diff_id}")]
    NoLayer {
        /// The one asked for.
        diff_id: Digest,
    },
    /// The index of a layer's archive could not be written.
    #[error("cannot write the index {path:?}")]
    WriteIndex {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: WriteError,
    },
    /// The kernel refused to mount a layer from its archive.
    #[error("cannot mount a layer from its archive: {step}{}", if .log.is_empty() { String::new() } else { format!(" ({log})") })]
    Index {
        /// The call that failed.
        step: &'static str,
        /// What the kernel said about it, where it said something.
        log: String,
        /// The error number.
        #[source]
        source: io::Error,
    },
    /// The files of a container in a user namespace cannot be given its ids.
    #[error("cannot show {what} with the ids of a user namespace: {step}")]
    NoIdMap {
        /// What was to be mounted.
        what: &'static str,
        /// What is missing, or the call that failed.
        step: &'static str,
        /// The error number.
        #[source]
        source: io::Error,
    },
    /// More layers than overlayfs, or this kernel's way of naming them, can stack.
    #[error("{count} layers are too many: this kernel can stack {max}")]
    TooManyLayers {
        /// How many there are.
        count: usize,
        /// How many are possible.
        max: usize,
    },
    /// The kernel refused to make the overlay.
    #[error("cannot mount the container's root: {step}{}", if .log.is_empty() { String::new() } else { format!(" ({log})") })]
    Mount {
        /// The call that failed.
        step: &'static str,
        /// What the kernel said about it, where it said something.
        log: String,
        /// The error number.
        #[source]
        source: io::Error,
    },
}

impl Classify for SnapshotError {
    fn kind(&self) -> Kind {
        match self {
            SnapshotError::System { source, .. } => kind_of_io(source),
            SnapshotError::Unpack { source, .. } => source.kind(),
            SnapshotError::Digest(_) => Kind::Corrupt,
            SnapshotError::NoLayer { .. } => Kind::NotFound,
            SnapshotError::TooManyLayers { .. } => Kind::Unsupported,
            SnapshotError::NoIdMap { source, .. } => match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Kind::Unsupported,
                _ => kind_of_io(source),
            },
            SnapshotError::WriteIndex { source: WriteError::Io(source), .. } => kind_of_io(source),
            SnapshotError::WriteIndex { source: WriteError::TooLarge, .. } => Kind::Unsupported,
            // The tree was checked when it was made.
            SnapshotError::WriteIndex { source: WriteError::Inode { .. }, .. } => Kind::Internal,
            SnapshotError::Mount { source, .. } | SnapshotError::Index { source, .. } => {
                match source.raw_os_error().map(Errno::from_raw_os_error) {
                    Some(Errno::NODEV | Errno::NOSYS | Errno::NOTBLK | Errno::OPNOTSUPP) => Kind::Unsupported,
                    _ => kind_of_io(source),
                }
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SnapshotError::Unpack { source, .. } => source.hint(),
            SnapshotError::System { source, .. } | SnapshotError::WriteIndex { source: WriteError::Io(source), .. }
                if kind_of_io(source) == Kind::NoSpace =>
            {
                Some("free some space on that file system, or remove images and containers that are not needed".into())
            }
            SnapshotError::Digest(_) => Some("fetch or export the image again; its content was changed".into()),
            SnapshotError::NoLayer { .. } => Some("pull or import the image again".into()),
            SnapshotError::Index { .. } => {
                Some("start the daemon with --snapshotter directories: layers are then unpacked".into())
            }
            SnapshotError::NoIdMap { .. } if self.kind() == Kind::Unsupported => Some(
                "id-mapped layers need Linux 5.19 and a file system that can have them (ext4, xfs, btrfs): move --data-root to \
                 one, or run the container with --userns host"
                    .into(),
            ),
            SnapshotError::Mount { .. } if self.kind() == Kind::Unsupported => {
                Some("load the overlay module: modprobe overlay".into())
            }
            SnapshotError::Mount { .. } if self.kind() == Kind::Conflict => {
                Some("the container's writable directory is mounted already".into())
            }
            SnapshotError::Mount { .. } if self.kind() == Kind::PermissionDenied => Some("mounting needs root".into()),
            _ => None,
        }
    }
}

/// Says of a failed system call what was tried with which path.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, SnapshotError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, operation: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, SnapshotError> {
        self.map_err(|source| SnapshotError::System { operation, path: path(), source: source.into() })
    }
}
