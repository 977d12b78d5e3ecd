// SPDX-License-Identifier: Apache-2.0
//! Image names, by Docker's reference grammar: `[registry/]repository[:tag][@digest]`. A name without a registry
//! belongs to `docker.io`, and one without a slash to its `library`; what the user sees leaves both out again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, DigestError};

/// The registry that a name without one means.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The longest repository name (with its registry) that Docker accepts.
const MAX_NAME: usize = 255;

/// The full name of an image. `to_string` gives the familiar form (`debian:12`), [`ImageRef::canonical`] the full one
/// (`docker.io/library/debian:12`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The repository part breaks the grammar.
    #[error(
        "{0:?} is not an image name: a repository is lower-case letters and digits, separated by `.`, `_`, `__`, `-` or `/`"
    )]
    Repository(String),
    /// The registry part is no host and port.
    #[error("{0:?} is not a registry: expected HOST or HOST:PORT")]
    Registry(String),
    /// The tag breaks the grammar.
    #[error("{0:?} is not a tag: up to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`")]
    Tag(String),
    /// The digest breaks the grammar.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Longer than Docker accepts.
    #[error("an image name of {0} characters is too long: at most {MAX_NAME}")]
    TooLong(usize),
}

impl ImageRef {
    /// The registry's host and perhaps port, `docker.io` when none was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry, for example `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if the name has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the name is pinned to one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What a registry is asked for: the digest if there is one, else the tag, else `latest`.
    pub fn manifest_reference(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same name with the tag `latest` where it had neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> ImageRef {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository, pinned to a digest and without a tag.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> ImageRef {
        ImageRef { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The full form, with registry and `library/`.
    pub fn canonical(&self) -> String {
        self.write(&format!("{}/{}", self.registry, self.repository))
    }

    /// The repository as users see it: without `docker.io/` and `library/`.
    pub fn familiar_repository(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.strip_prefix("library/") {
            // `library/a/b` must keep its prefix, or it would read as another name.
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.repository.clone(),
        }
    }

    fn write(&self, name: &str) -> String {
        let mut text = name.to_owned();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<ImageRef, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(checked_tag(tag)?)),
            _ => (name, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if looks_like_host(first) => (checked_registry(first)?, rest.to_owned()),
            Some(_) => (DEFAULT_REGISTRY.to_owned(), name.to_owned()),
            None => (DEFAULT_REGISTRY.to_owned(), format!("library/{name}")),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY.to_owned() } else { registry };
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        if !repository.split('/').all(is_path_component) {
            return Err(ReferenceError::Repository(name.chars().take(MAX_NAME).collect()));
        }
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(registry.len() + 1 + repository.len()));
        }
        Ok(ImageRef { registry, repository, tag, digest })
    }
}

/// The registry that a user means: a host and perhaps a port, or the URL of one. Nothing means Docker's, as with
/// `docker login`.
///
/// # Errors
/// [`ReferenceError::Registry`].
pub fn registry_of(text: &str) -> Result<String, ReferenceError> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    match host.split('/').next().unwrap_or(host) {
        "" | "index.docker.io" | "registry-1.docker.io" => Ok(DEFAULT_REGISTRY.to_owned()),
        host => checked_registry(host),
    }
}

/// Docker's rule: the first part is a registry if it has a dot or a colon, is `localhost`, or is not lower case.
fn looks_like_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.chars().any(|c| c.is_ascii_uppercase())
}

fn checked_registry(text: &str) -> Result<String, ReferenceError> {
    let error = || ReferenceError::Registry(text.chars().take(MAX_NAME).collect());
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_err()) {
        return Err(error());
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let valid = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    if valid { Ok(text.to_owned()) } else { Err(error()) }
}

pub(crate) fn checked_tag(text: &str) -> Result<String, ReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if valid { Ok(text.to_owned()) } else { Err(ReferenceError::Tag(text.chars().take(200).collect())) }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
pub(crate) fn is_path_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

impl TryFrom<String> for ImageRef {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<ImageRef, ReferenceError> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(name: ImageRef) -> String {
        name.canonical()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.write(&self.familiar_repository()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_may_be_given_as_a_url() {
        for (text, registry) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://a.example:5000/v2/", "a.example:5000"),
            ("http://[::1]:5000", "[::1]:5000"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(registry_of(text).unwrap(), registry, "{text}");
        }
        for bad in ["a b", "a:x", "user@host", "-a", "a..b", "ftp://x"] {
            assert!(registry_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_read_as_docker_reads_them() {
        for (text, canonical, familiar) in [
            ("debian", "docker.io/library/debian", "debian"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("corten/hello", "docker.io/corten/hello", "corten/hello"),
            ("docker.io/debian", "docker.io/library/debian", "debian"),
            ("index.docker.io/library/debian", "docker.io/library/debian", "debian"),
            ("localhost/a", "localhost/a", "localhost/a"),
            ("127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
            ("a.b/c__d-e---f.g", "a.b/c__d-e---f.g", "a.b/c__d-e---f.g"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ] {
            let name: ImageRef = text.parse().unwrap();
            assert_eq!(name.canonical(), canonical, "{text}");
            assert_eq!(name.to_string(), familiar, "{text}");
            assert_eq!(name.to_string().parse::<ImageRef>().unwrap(), name, "the familiar form means the same");
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let digest = Digest::of(b"x");
        let name: ImageRef = format!("a.b/c:t@{digest}").parse().unwrap();
        assert_eq!((name.tag(), name.manifest_reference()), (Some("t"), digest.to_string()));
        assert_eq!("a".parse::<ImageRef>().unwrap().with_default_tag().to_string(), "a:latest");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(300);
        for bad in [
            "",
            "A",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:-x",
            "a b",
            "../a",
            "a/../b",
            "a.b:99999/c",
            "a_-b",
            "a@sha256:1",
            "a___b",
            "-a.b/c",
            "a..b/c",
            &long,
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_is_refused_and_never_panics(text in ".{0,300}") {
            if let Ok(name) = text.parse::<ImageRef>() {
                assert_eq!(name.canonical().parse::<ImageRef>().unwrap(), name);
            }
        }
    }
}
