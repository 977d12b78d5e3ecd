// SPDX-License-Identifier: Apache-2.0
//! The rules of `corten trust`: images under a prefix must be signed by one of these keys.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use errors::{Classify, Kind};
use oci::{ImageRef, RepositoryName};
use serde::{Deserialize, Serialize};

use crate::key::PublicKey;

/// A text that is no prefix of images' names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no prefix of images' names: expected HOST[:PORT] or HOST[:PORT]/PATH, without a tag")]
pub struct PrefixError(String);

impl Classify for PrefixError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }

    fn hint(&self) -> Option<String> {
        Some("the registry is part of it: docker.io/library/debian, not debian".to_owned())
    }
}

/// Images of a registry, or of a part of it: a host and perhaps a port, and perhaps the first components of a path. It
/// covers whole components: `a.example/foo` has nothing to do with `a.example/foobar`. A host is written in any case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

impl Prefix {
    /// Whether the image's name lies under it.
    pub fn covers(&self, name: &ImageRef) -> bool {
        let name = repository(name);
        name.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The full name without tag and digest. Hosts are the same in any case, and repositories have no capitals.
pub(crate) fn repository(name: &ImageRef) -> String {
    format!("{}/{}", name.registry().to_ascii_lowercase(), name.repository())
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let error = || PrefixError(text.chars().take(300).collect());
        let (host, path) = match text.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (text, None),
        };
        // Without these it would be read as a repository of Docker's registry by whoever writes it.
        if !host.contains(['.', ':']) && host != "localhost" || host.is_empty() {
            return Err(error());
        }
        let registry = oci::registry_of(host).map_err(|_| error())?.to_ascii_lowercase();
        match path {
            None => Ok(Prefix(registry)),
            Some(path) => {
                let path: RepositoryName = path.parse().map_err(|_| error())?;
                Ok(Prefix(format!("{registry}/{path}")))
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Prefix, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.0
    }
}

/// Prefixes, and the keys of which one must have signed what is under them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(BTreeMap<Prefix, Vec<PublicKey>>);

impl Rules {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of their prefixes.
    pub fn iter(&self) -> impl Iterator<Item = (&Prefix, &[PublicKey])> {
        self.0.iter().map(|(prefix, keys)| (prefix, keys.as_slice()))
    }

    /// The rule for an image: that of the longest prefix which covers it.
    pub fn applying(&self, name: &ImageRef) -> Option<(&Prefix, &[PublicKey])> {
        let covering = self.0.iter().filter(|(prefix, _)| prefix.covers(name));
        covering.max_by_key(|(prefix, _)| prefix.0.len()).map(|(prefix, keys)| (prefix, keys.as_slice()))
    }
}

impl FromIterator<(Prefix, Vec<PublicKey>)> for Rules {
    fn from_iter<I: IntoIterator<Item = (Prefix, Vec<PublicKey>)>>(rules: I) -> Rules {
        Rules(rules.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_covers_whole_components() {
        for (text, name, covered) in [
            ("a.example/foo", "a.example/foo:1", true),
            ("a.example/foo", "a.example/foo/bar", true),
            ("a.example/foo", "a.example/foobar", false),
            ("a.example", "a.example/x/y", true),
            ("a.example", "a.example:5000/x", false),
            ("a.example", "b.a.example/x", false),
            ("A.Example", "a.exAmple/x", true),
            ("docker.io/library", "debian", true),
            ("docker.io", "team/app", true),
            (
                "docker.io/library/debian",
                "debian@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                true,
            ),
            ("127.0.0.1:5000/team", "127.0.0.1:5000/team/app:v1", true),
            ("[::1]:5000", "[::1]:5000/app", true),
        ] {
            assert_eq!(prefix(text).covers(&name.parse().unwrap()), covered, "{text} and {name}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for bad in [
            "",
            "debian",
            "library/debian",
            "a.example/",
            "a.example/x:1",
            "a.example/X",
            "/x",
            "a b.c",
            "a.example//x",
            "https://a.example",
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let rules: Rules = [("a.example", 1), ("a.example/team/app", 3), ("a.example/team", 2)]
            .into_iter()
            .map(|(text, _)| (prefix(text), Vec::new()))
            .collect();
        let applying = |name: &str| rules.applying(&name.parse().unwrap()).map(|(prefix, _)| prefix.to_string());
        assert_eq!(applying("a.example/team/app/x").as_deref(), Some("a.example/team/app"));
        assert_eq!(applying("a.example/team/application").as_deref(), Some("a.example/team"));
        assert_eq!(applying("a.example/other").as_deref(), Some("a.example"));
        assert_eq!(applying("b.example/other"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_prefix_or_not_and_never_panics(text in "[a-zA-Z0-9./:@\\[\\]é_-]{0,40}") {
            if let Ok(prefix) = text.parse::<Prefix>() {
                prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
            }
        }
    }
}
