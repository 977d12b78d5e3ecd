// SPDX-License-Identifier: Apache-2.0
//! Why a layer cannot be unpacked.

use std::fmt;
use std::io;

use errors::{Classify, Kind, kind_of_io};

/// Why unpacking stopped.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream cannot be read, or not be decompressed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The archive itself cannot be written down.
    #[error("cannot write the layer's archive")]
    Keep(#[source] io::Error),
    /// The stream is not a whole tar archive.
    #[error("the archive is not valid (at byte {offset})")]
    Format {
        /// How far the archive was read, in bytes.
        offset: u64,
        /// What is wrong there.
        #[source]
        source: FormatError,
    },
    /// An entry that no layer may have.
    #[error("the archive's entry {name} is refused")]
    Refused {
        /// The entry.
        name: EntryName,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// More than the limits allow.
    #[error("the archive has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The system refused to make an entry.
    #[error("cannot {operation} the archive's entry {name}")]
    System {
        /// What was tried: a verb.
        operation: &'static str,
        /// The entry.
        name: EntryName,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// How an archive breaks the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The end came in the middle.
    #[error("it is truncated")]
    Truncated,
    /// The end came without the end-of-archive marker.
    #[error("it has no end-of-archive marker: perhaps it is truncated")]
    NoEndMarker,
    /// A header whose checksum is wrong.
    #[error("a header's checksum is wrong")]
    Checksum,
    /// A number that is none, or too large.
    #[error("the field {0} is not a number that fits")]
    Number(&'static str),
    /// An extended header without a file that it describes, or two for one file.
    #[error("an extended header describes no file, or there are two for one")]
    Extension,
    /// A PAX record that breaks the format.
    #[error("a PAX record is malformed")]
    Pax,
    /// A map of a sparse file that overlaps, runs over the end, or does not match the data.
    #[error("the map of a sparse file is malformed")]
    Sparse,
}

/// Why an entry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name starts with `/`.
    #[error("its name is absolute")]
    Absolute,
    /// The name has a `..` in it.
    #[error("its name contains ..")]
    DotDot,
    /// The name has a zero byte in it, or a link target is empty or has one.
    #[error("a name in it is empty or contains a zero byte")]
    Nul,
    /// The name, or one part of it, is longer than a file system allows.
    #[error("its name is too long")]
    TooLong,
    /// A reserved name that is no whiteout: `.wh.`, `.wh...`, a directory `.wh.x`.
    #[error("its name is reserved for whiteouts")]
    Whiteout,
    /// A part of the name is a file, a link to nowhere, or a loop of links.
    #[error("a part of its path is not a directory")]
    Parent,
    /// A hard link to something that is not in the layer, or is a directory.
    #[error("it is a hard link to something that is not a file of this layer")]
    HardLink,
    /// The layer's root as anything but a directory.
    #[error("it would replace the root directory")]
    Root,
    /// An owner that is not a user id.
    #[error("its owner is not a valid id")]
    Owner,
    /// A device number that the kernel cannot have.
    #[error("its device number is not valid")]
    Device,
    /// A device outside of a container.
    #[error("it is a device, which is made in containers only")]
    ForeignDevice,
    /// An owner whose id the container does not have.
    #[error("its owner has no id in the container's user namespace")]
    ForeignOwner,
    /// Something else where a directory is, or the reverse.
    #[error("it would replace a directory by something else, or something else by a directory")]
    OtherKind,
    /// An extended attribute that the kernel knows and whose value it refuses, or a name too long.
    #[error("an extended attribute of it is not valid")]
    Xattr,
    /// A type of entry that layers do not have.
    #[error("its type {0:#04x} is unknown")]
    Type(u8),
}

/// An entry's name in an error: any bytes, escaped and shortened.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryName(Vec<u8>);

impl EntryName {
    const SHOWN: usize = 200;

    pub(crate) fn new(name: &[u8]) -> EntryName {
        EntryName(name.iter().copied().take(EntryName::SHOWN + 1).collect())
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(EntryName::SHOWN)];
        write!(f, "{:?}", String::from_utf8_lossy(shown))?;
        f.write_str(if self.0.len() > EntryName::SHOWN { "…" } else { "" })
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl UnpackError {
    pub(crate) fn refused(name: &[u8], source: Refusal) -> UnpackError {
        UnpackError::Refused { name: EntryName::new(name), source }
    }

    pub(crate) fn system(operation: &'static str, name: &[u8], source: impl Into<io::Error>) -> UnpackError {
        UnpackError::System { operation, name: EntryName::new(name), source: source.into() }
    }
}

impl Classify for UnpackError {
    fn kind(&self) -> Kind {
        match self {
            UnpackError::Read(source) => match source.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Kind::Corrupt,
                _ => kind_of_io(source),
            },
            UnpackError::Keep(source) => kind_of_io(source),
            UnpackError::Format { .. } | UnpackError::Limit { .. } => Kind::Corrupt,
            UnpackError::Refused { source: Refusal::Type(_) | Refusal::ForeignDevice, .. } => Kind::Unsupported,
            UnpackError::Refused { source: Refusal::OtherKind | Refusal::ForeignOwner, .. } => Kind::InvalidArgument,
            UnpackError::Refused { .. } => Kind::Corrupt,
            UnpackError::System { source, .. } => kind_of_io(source),
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            UnpackError::Read(_) | UnpackError::Format { .. } => {
                "fetch or export the image again; the archive is damaged or incomplete"
            }
            UnpackError::Refused { source: Refusal::Absolute, .. } => {
                "pack the archive again with names relative to its root"
            }
            UnpackError::Refused { source: Refusal::OtherKind, .. } => "remove what is there first, or copy elsewhere",
            UnpackError::Refused { source: Refusal::ForeignOwner, .. } => "give the files an owner below 65536",
            UnpackError::Refused { source: Refusal::ForeignDevice, .. } => {
                "stream the archive to a file instead, with - as the destination"
            }
            UnpackError::Refused { .. } => "do not trust this image unless you know why its layer was made like that",
            UnpackError::Limit { .. } => "the archive is larger than any honest image; do not trust it",
            UnpackError::System { source, .. } | UnpackError::Keep(source) if kind_of_io(source) == Kind::NoSpace => {
                "free some space on the data root's file system, or remove images that are not needed"
            }
            UnpackError::System { .. } | UnpackError::Keep(_) => return None,
        };
        Some(text.to_owned())
    }
}
