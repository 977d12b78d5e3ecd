// SPDX-License-Identifier: Apache-2.0
//! Why an image was not copied.

use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind, kind_of_io};
use layer::UnpackError;
use oci::manifest::{ConvertError, TypeError};
use oci::{Digest, Mismatch, Platform};
use registry_client::RegistryError;

/// Why an image was not copied. Places are written as the user names them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
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
    /// An archive that is none, or a broken or hostile one.
    #[error("cannot read the image archive {path:?}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// A part that a place's documents name and that is not there, or is not a plain file.
    #[error("{place} lacks the {what} {name}")]
    Missing {
        /// Where.
        place: String,
        /// What is missing.
        what: &'static str,
        /// Its name or digest.
        name: String,
    },
    /// A document that is not what it should be.
    #[error("the {document} of {place} is not valid")]
    Document {
        /// Where.
        place: String,
        /// Which document.
        document: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest that is of no known type, or of two.
    #[error("cannot use the manifest of {place}")]
    Type {
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: TypeError,
    },
    /// Documents that contradict each other.
    #[error("{place} is not consistent: {why}")]
    Inconsistent {
        /// Where.
        place: String,
        /// How.
        why: &'static str,
    },
    /// A document larger than any honest one.
    #[error("the {document} of {place} has more than {limit} bytes")]
    TooLarge {
        /// Where.
        place: String,
        /// Which document.
        document: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// Content that is not what its name says.
    #[error("{what} {} of {place} has the digest {}", .mismatch.expected, .mismatch.found)]
    Digest {
        /// Where.
        place: String,
        /// What it should be.
        what: &'static str,
        /// The digest by which it is named, and the one it has.
        mismatch: Box<Mismatch>,
    },
    /// Content longer or shorter than its manifest says.
    #[error("{what} {digest} of {place} should have {expected} bytes and has {found}")]
    Size {
        /// Where.
        place: String,
        /// What it should be.
        what: &'static str,
        /// Its digest.
        digest: Box<Digest>,
        /// What the manifest says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A layer that cannot be decompressed, although its digest is right.
    #[error("cannot decompress layer {layer} of {place}")]
    Decompress {
        /// Where.
        place: String,
        /// The layer.
        layer: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An image layout of a version that is not known, or no image layout at all.
    #[error("{place} is no OCI image layout of version 1.0.0")]
    Layout {
        /// Where.
        place: String,
    },
    /// A directory that holds something else.
    #[error("{path:?} is not empty, and is {not}")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What it is not.
        not: &'static str,
    },
    /// No image of that name.
    #[error("{place} holds no such image{}", holds(.available))]
    NoImage {
        /// Where, with the name.
        place: String,
        /// The images that are there.
        available: Vec<String>,
    },
    /// Several images, and none was named.
    #[error("{place} holds {} images{}", .available.len(), holds(.available))]
    Several {
        /// Where.
        place: String,
        /// The images that are there.
        available: Vec<String>,
    },
    /// An image for other machines.
    #[error("{place} holds nothing for {wanted}, only for {}", platforms(.available))]
    Platform {
        /// Where.
        place: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<Platform>,
    },
    /// A manifest without an equal in the format that is wanted.
    #[error("cannot convert the manifest of {place}")]
    Convert {
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: ConvertError,
    },
    /// The digests were to stay, and cannot.
    #[error("the digest of {place} would change: {why}")]
    WouldChange {
        /// Where.
        place: String,
        /// Why.
        why: String,
    },
    /// An image for several platforms is to go where there is room for one.
    #[error("{place} cannot hold an image for several platforms")]
    NoRoomForIndex {
        /// Where.
        place: String,
    },
    /// A format that the destination does not have.
    #[error("{place} holds manifests of the {} format only", if *.docker { "Docker" } else { "OCI" })]
    Format {
        /// Where.
        place: String,
        /// Whether that is Docker's.
        docker: bool,
    },
    /// A place in an archive's list, where something is to be written.
    #[error("{place} counts the images of an archive, and what is written there gets a name")]
    NumberedDestination {
        /// Where.
        place: String,
    },
    /// A layer whose bytes only its maker may hand out.
    #[error("layer {layer} of {place} may only be had from its maker")]
    NotDistributable {
        /// Where.
        place: String,
        /// The layer.
        layer: Digest,
    },
    /// The destination is named by another digest than the image has.
    #[error("{place} cannot be given an image with the digest {found}")]
    OtherDigest {
        /// Where.
        place: String,
        /// What the image has.
        found: Digest,
    },
    /// Somebody asked for the end.
    #[error("the copy was stopped")]
    Stopped,
}

fn holds(available: &[String]) -> String {
    const SHOWN: usize = 10;
    if available.is_empty() {
        return String::new();
    }
    let more = if available.len() > SHOWN { ", …" } else { "" };
    format!(": {}{more}", available.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "))
}

fn platforms(available: &[Platform]) -> String {
    if available.is_empty() {
        return "platforms that it does not name".to_owned();
    }
    available.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}

impl Classify for TransferError {
    fn kind(&self) -> Kind {
        match self {
            TransferError::Registry(source) => source.kind(),
            TransferError::System { source, .. } => kind_of_io(source),
            TransferError::Archive { source, .. } => source.kind(),
            TransferError::NoImage { .. } => Kind::NotFound,
            TransferError::Several { .. }
            | TransferError::WouldChange { .. }
            | TransferError::NoRoomForIndex { .. }
            | TransferError::Format { .. }
            | TransferError::NumberedDestination { .. }
            | TransferError::OtherDigest { .. } => Kind::InvalidArgument,
            TransferError::Platform { .. }
            | TransferError::Layout { .. }
            | TransferError::Convert { source: ConvertError::Type { .. }, .. }
            | TransferError::Type { source: TypeError::Unknown(_), .. }
            | TransferError::NotDistributable { .. } => Kind::Unsupported,
            TransferError::Foreign { .. } => Kind::Conflict,
            TransferError::Missing { .. }
            | TransferError::Document { .. }
            | TransferError::Type { .. }
            | TransferError::Inconsistent { .. }
            | TransferError::TooLarge { .. }
            | TransferError::Digest { .. }
            | TransferError::Size { .. }
            | TransferError::Decompress { .. }
            | TransferError::Convert { .. } => Kind::Corrupt,
            TransferError::Stopped => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            TransferError::Registry(source) => return source.hint(),
            TransferError::Archive { source, .. } => return source.hint(),
            TransferError::System { source, .. } if kind_of_io(source) == Kind::NoSpace => {
                "free some space on that file system; $TMPDIR says where layers lie while they are compressed"
            }
            TransferError::Several { .. } => "name one of them behind a colon; docker-archive: also takes :@0, :@1, …",
            TransferError::NoImage { .. } => "check the name behind the last colon",
            TransferError::Platform { .. } => "choose one of them with --platform, or copy all with --all",
            TransferError::WouldChange { .. } => {
                "leave out --preserve-digests, or what changes the image; dir: and docker:// take it as it is"
            }
            TransferError::NoRoomForIndex { .. } => "leave out --all, and choose with --platform",
            TransferError::Format { .. } => "leave out --format",
            TransferError::Convert { source: ConvertError::Type { .. }, .. } => {
                "leave out --format; for layers in zstd, --compress-format gzip makes them known to both formats"
            }
            TransferError::Foreign { .. } => "name another directory, or one that does not exist yet",
            TransferError::Digest { .. } | TransferError::Size { .. } | TransferError::Missing { .. } => {
                "it is damaged or incomplete: copy it anew from where it came"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

pub(crate) fn system(operation: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> TransferError {
    TransferError::System { operation, path: path.into(), source: source.into() }
}

/// Says of a failed system call what was tried with which path.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T, TransferError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T, TransferError> {
        self.map_err(|error| system(operation, path, error))
    }
}
