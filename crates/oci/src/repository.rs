// SPDX-License-Identifier: Apache-2.0
//! Names within one registry (distribution-spec, "Pulling manifests"): repositories and tags.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::reference::{ReferenceError, checked_tag, is_path_component};

/// The longest repository name: with more, clients that allow 255 characters for registry and name could not say it.
const MAX_REPOSITORY: usize = 255;

/// The name of a repository within its registry, as in `library/debian`: components of lower-case letters and digits,
/// separated by `.`, `_`, `__` or dashes, joined by `/`. At most 255 characters. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(Arc<str>);

/// A tag: up to 128 letters, digits, `_`, `.` and `-`, of which `.` and `-` are not the first. Cheap to clone. Ordered
/// byte by byte, as the specification wants lists to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl RepositoryName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<RepositoryName, ReferenceError> {
        if text.len() > MAX_REPOSITORY {
            return Err(ReferenceError::TooLong(text.len()));
        }
        if !text.split('/').all(is_path_component) {
            return Err(ReferenceError::Repository(text.to_owned()));
        }
        Ok(RepositoryName(text.into()))
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Tag, ReferenceError> {
        checked_tag(text).map(|tag| Tag(tag.into()))
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_no_names() {
        for bad in ["", "..", "a/..", "../a", "a//b", "/a", "a/", "A", "a/%2e%2e", ".a", "a.", "a\0b", "a___b", "a+b"] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(256).parse::<RepositoryName>().is_err());
        for good in ["a", "library/debian", "a--b/c__d/e.f", &"a".repeat(255)] {
            assert_eq!(good.parse::<RepositoryName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_tag_is_a_word() {
        for bad in ["", ".", "..", ".a", "-a", "a/b", "a b", "a:b", &"a".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
        }
        for good in ["latest", "V1.0-rc.2", "_", &"a".repeat(128)] {
            assert_eq!(good.parse::<Tag>().unwrap().as_str(), good);
        }
    }
}
