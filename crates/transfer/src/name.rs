// SPDX-License-Identifier: Apache-2.0
//! Names of places that hold images, as containers-transports(5) has them: `docker://NAME[:TAG|@DIGEST]`,
//! `oci:DIR[:REFERENCE]`, `oci-archive:FILE[:REFERENCE]`, `docker-archive:FILE[:NAME[:TAG]|:@INDEX]`, `dir:DIR`.
//!
//! As there, a path ends at its first colon: one that has a colon cannot be said.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use errors::{Classify, Kind};
use oci::{ImageRef, ReferenceError};

/// Where an image is, or shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a registry: `docker://`.
    Registry(ImageRef),
    /// In a directory that is an OCI image layout, under a reference if it has one: `oci:`.
    Layout(PathBuf, Option<String>),
    /// The same, packed as a tar archive: `oci-archive:`.
    LayoutArchive(PathBuf, Option<String>),
    /// In an archive as `docker save` writes it: `docker-archive:`.
    DockerArchive(PathBuf, Choice),
    /// In a directory that holds this image and nothing else: `dir:`.
    Directory(PathBuf),
}

/// Which of an archive's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The only one.
    Only,
    /// The one with this name.
    Named(ImageRef),
    /// The one at this place in the archive's list, the first being 0.
    Nth(usize),
}

/// Why a text names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// It does not begin with a transport.
    #[error("{0:?} does not say what kind of place it is")]
    NoTransport(String),
    /// It begins with a transport that is not known.
    #[error("the transport {transport:?} of {text:?} is not supported")]
    Transport {
        /// What it begins with.
        transport: String,
        /// All of it.
        text: String,
    },
    /// A registry's image without `//`.
    #[error("{0:?} is not complete: the name of an image in a registry begins with docker://")]
    NoSlashes(String),
    /// No path.
    #[error("{0:?} names no file or directory")]
    NoPath(String),
    /// A reference that an image layout cannot have.
    #[error("{0:?} is not a reference of an OCI image layout: letters, digits and -._:@/+ between them")]
    Reference(String),
    /// A name with a tag and a digest, of which only one can count.
    #[error("{0:?} has both a tag and a digest")]
    Both(String),
    /// A digest where an archive wants a tag.
    #[error("{0:?} has a digest, and an archive knows its images by their tags")]
    Digest(String),
    /// An index that is no number.
    #[error("{0:?} is not an image's place in an archive: expected @ and a number")]
    Index(String),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] ReferenceError),
}

impl Classify for PlaceError {
    fn kind(&self) -> Kind {
        match self {
            PlaceError::Transport { .. } => Kind::Unsupported,
            _ => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        let all = "docker://NAME, oci:DIR, oci-archive:FILE, docker-archive:FILE and dir:DIR";
        match self {
            PlaceError::NoTransport(text) if text.parse::<ImageRef>().is_ok() => {
                Some(format!("in a registry it is docker://{text}; there are {all}"))
            }
            PlaceError::NoTransport(_) | PlaceError::Transport { .. } => Some(format!("there are {all}")),
            PlaceError::Both(_) => Some("leave out one of the two".to_owned()),
            _ => None,
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Place, PlaceError> {
        let shown = || text.chars().take(300).collect::<String>();
        let (transport, rest) = text.split_once(':').ok_or_else(|| PlaceError::NoTransport(shown()))?;
        let path = || {
            let (path, rest) = rest.split_once(':').map_or((rest, None), |(path, rest)| (path, Some(rest)));
            if path.is_empty() {
                return Err(PlaceError::NoPath(shown()));
            }
            Ok((PathBuf::from(path), rest.filter(|rest| !rest.is_empty())))
        };
        match transport {
            "docker" => {
                let name = rest.strip_prefix("//").ok_or_else(|| PlaceError::NoSlashes(shown()))?;
                let name: ImageRef = name.parse()?;
                if name.tag().is_some() && name.digest().is_some() {
                    return Err(PlaceError::Both(shown()));
                }
                Ok(Place::Registry(name.with_default_tag()))
            }
            "oci" | "oci-archive" => {
                let (path, reference) = path()?;
                if let Some(reference) = reference
                    && !is_reference(reference)
                {
                    return Err(PlaceError::Reference(reference.chars().take(300).collect()));
                }
                let reference = reference.map(str::to_owned);
                Ok(if transport == "oci" {
                    Place::Layout(path, reference)
                } else {
                    Place::LayoutArchive(path, reference)
                })
            }
            "docker-archive" => {
                let (path, which) = path()?;
                Ok(Place::DockerArchive(path, which.map_or(Ok(Choice::Only), choice)?))
            }
            "dir" if rest.is_empty() => Err(PlaceError::NoPath(shown())),
            "dir" => Ok(Place::Directory(rest.into())),
            // A port or a tag stands behind a colon as well.
            _ if !is_transport(transport) => Err(PlaceError::NoTransport(shown())),
            _ => Err(PlaceError::Transport { transport: transport.to_owned(), text: shown() }),
        }
    }
}

/// The transports of containers-transports(5) that are not here.
fn is_transport(text: &str) -> bool {
    matches!(text, "atomic" | "containers-storage" | "docker-daemon" | "ostree" | "sif" | "tarball")
}

fn choice(text: &str) -> Result<Choice, PlaceError> {
    if let Some(index) = text.strip_prefix('@') {
        return index.parse().map(Choice::Nth).map_err(|_| PlaceError::Index(text.chars().take(300).collect()));
    }
    let name: ImageRef = text.parse()?;
    if name.digest().is_some() {
        return Err(PlaceError::Digest(text.to_owned()));
    }
    Ok(Choice::Named(name.with_default_tag()))
}

/// The grammar of image-spec, `annotations.md`, "org.opencontainers.image.ref.name": components separated by slashes, of
/// letters and digits with single separators between them.
fn is_reference(text: &str) -> bool {
    let component = |component: &str| {
        let edges = [component.bytes().next(), component.bytes().next_back()];
        edges.iter().all(|edge| edge.is_some_and(|byte| byte.is_ascii_alphanumeric()))
            && component.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:@+".contains(&byte))
    };
    text.len() <= 1024 && text.split('/').all(component)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |transport: &str, path: &PathBuf, reference: Option<String>| {
            let reference = reference.map(|reference| format!(":{reference}")).unwrap_or_default();
            format!("{transport}:{}{reference}", path.display())
        };
        f.write_str(&match self {
            Place::Registry(name) => format!("docker://{name}"),
            Place::Layout(path, reference) => with("oci", path, reference.clone()),
            Place::LayoutArchive(path, reference) => with("oci-archive", path, reference.clone()),
            Place::DockerArchive(path, Choice::Only) => with("docker-archive", path, None),
            Place::DockerArchive(path, Choice::Named(name)) => with("docker-archive", path, Some(name.to_string())),
            Place::DockerArchive(path, Choice::Nth(index)) => with("docker-archive", path, Some(format!("@{index}"))),
            Place::Directory(path) => with("dir", path, None),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_transport_reads_as_it_is_written() {
        for text in [
            "docker://debian:12",
            "docker://127.0.0.1:5000/a/b:1",
            &format!("docker://a@{}", oci::Digest::of("x")),
            "oci:some/dir",
            "oci:/dir:1.0-rc+x",
            "oci:dir:docker.io/library/a:1",
            "oci-archive:a.tar:latest",
            "docker-archive:a.tar",
            "docker-archive:a.tar:b/c:1",
            "docker-archive:a.tar:@2",
            "dir:some/dir:with-colon",
        ] {
            assert_eq!(place(text).to_string(), text);
        }
        assert_eq!(place("docker://a").to_string(), "docker://a:latest");
        assert_eq!(place("docker-archive:x:a").to_string(), "docker-archive:x:a:latest");
        assert_eq!(place("oci:dir:"), place("oci:dir"));
    }

    #[test]
    fn what_names_no_place_says_what_would() {
        let error = |text: &str| text.parse::<Place>().expect_err(text);
        for text in ["debian", "127.0.0.1:5000/a", "debian:12", "./dir", ""] {
            let error = error(text);
            assert!(matches!(error, PlaceError::NoTransport(_)), "{text}: {error:?}");
            let hint = error.hint().unwrap();
            assert!(hint.contains("oci-archive:FILE") && hint.contains("dir:DIR"), "{hint}");
        }
        assert!(error("debian:12").hint().unwrap().contains("docker://debian:12;"));
        assert!(matches!(error("containers-storage:x"), PlaceError::Transport { .. }));
        assert!(matches!(error("docker:debian"), PlaceError::NoSlashes(_)));
        assert!(matches!(error(&format!("docker://a:1@{}", oci::Digest::of("x"))), PlaceError::Both(_)));
        for text in ["oci:", "oci::x", "oci-archive:", "docker-archive::a", "dir:"] {
            assert!(matches!(error(text), PlaceError::NoPath(_)), "{text}");
        }
        for text in ["oci:a:../b", "oci:a:b/", "oci:a:b c", "oci:a:-"] {
            assert!(matches!(error(text), PlaceError::Reference(_)), "{text}");
        }
        assert!(matches!(error("docker-archive:x:@y"), PlaceError::Index(_)));
        assert!(matches!(error(&format!("docker-archive:x:a@{}", oci::Digest::of("x"))), PlaceError::Digest(_)));
        assert!(matches!(error("docker://A B"), PlaceError::Name(_)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_place_or_refused(text in "(docker://|oci:|oci-archive:|docker-archive:|dir:)?.{0,40}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string().parse::<Place>(), Ok(place));
            }
        }
    }
}
