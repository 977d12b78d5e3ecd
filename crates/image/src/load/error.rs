// SPDX-License-Identifier: Apache-2.0
//! Why an archive of images is not loaded.

use std::fmt;

use errors::{Classify, Kind};
use layer::UnpackError;

/// Why an archive of images is not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It is no tar archive, or a broken or hostile one.
    #[error("cannot read the image archive")]
    Archive(#[source] UnpackError),
    /// It has a member that no image archive has.
    #[error("the image archive's member {member} is refused: {why}")]
    Member {
        /// The member's name.
        member: MemberName,
        /// Why.
        why: &'static str,
    },
    /// It has more members, or larger documents, than any honest one.
    #[error("the image archive has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// One of its documents cannot be understood.
    #[error("{document} of the image archive is not valid")]
    Document {
        /// Which one.
        document: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It is an image layout of a version that is not known.
    #[error("the image archive is an OCI image layout of version {0:?}, and 1.0.0 is known")]
    Layout(String),
    /// Its documents name something that it does not have.
    #[error("the image archive lacks the {what} {name}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// Its digest, or the name by which it is looked for.
        name: String,
    },
    /// It gives an image a name that cannot be.
    #[error("the image archive gives an image the name {name:?}, which is none that an image can have")]
    Name {
        /// The name.
        name: String,
    },
    /// It was made before images had manifests.
    #[error("the image archive is of the form that Docker wrote before version 1.10, which is not supported")]
    TooOld,
    /// It has neither `manifest.json` nor `index.json`.
    #[error("the archive holds no image: it has neither manifest.json nor index.json")]
    NoImage,
}

impl Classify for LoadError {
    fn kind(&self) -> Kind {
        match self {
            LoadError::Archive(source) => source.kind(),
            LoadError::Layout(_) | LoadError::TooOld => Kind::Unsupported,
            LoadError::NoImage => Kind::InvalidArgument,
            _ => Kind::Corrupt,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            LoadError::Archive(source) => return source.hint(),
            LoadError::NoImage => "the archive of a root file system is imported instead: corten import FILE NAME",
            LoadError::TooOld => "load it into a newer Docker, and save it again",
            LoadError::Missing { .. } => "save the image again; the archive is incomplete",
            LoadError::Layout(_) => "a newer version of Corten may know it",
            _ => "do not trust this archive unless you know how it was made",
        };
        Some(text.to_owned())
    }
}

/// A member's name in an error: any bytes, escaped and shortened.
#[derive(Clone, PartialEq, Eq)]
pub struct MemberName(Vec<u8>);

impl MemberName {
    const SHOWN: usize = 200;

    pub(super) fn new(name: &[u8]) -> MemberName {
        MemberName(name.iter().copied().take(MemberName::SHOWN).collect())
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
