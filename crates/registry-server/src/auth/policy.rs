// SPDX-License-Identifier: Apache-2.0
//! What users may do: a JSON file, user → pattern of repositories → actions.
//!
//! ```json
//! { "alice": { "**": ["pull", "push", "delete"] },
//!   "ci":    { "team/*": ["pull", "push"] },
//!   "*":     { "library/**": ["pull"] } }
//! ```
//!
//! The user `*` is every user. In a pattern, `*` stands for any characters of one component, and `**` as a whole component
//! for any components. What no rule allows is forbidden.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use errors::{Classify, Kind, kind_of_io};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Action;

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not JSON of this form.
    #[error("{path:?} is not a policy: expected {{\"USER\": {{\"PATTERN\": [\"pull\", \"push\", \"delete\"]}}}}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl Classify for PolicyError {
    fn kind(&self) -> Kind {
        match self {
            PolicyError::Read { source, .. } => kind_of_io(source),
            PolicyError::Form { .. } => Kind::InvalidArgument,
        }
    }
}

/// What users may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Policy(Names<Names<Vec<Action>>>);

/// An object in which no name stands twice: of two, one would not count.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Names<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Once<V> {
            type Value = Names<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names<V>, A::Error> {
                let mut names = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    match names.entry(name) {
                        Entry::Vacant(place) => drop(place.insert(value)),
                        Entry::Occupied(place) => {
                            return Err(A::Error::custom(format!("{:?} stands twice", place.key())));
                        }
                    }
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Once(PhantomData))
    }
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// It cannot be read, or is of another form.
    pub fn read(path: &Path) -> Result<Policy, PolicyError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        serde_json::from_str(&text).map_err(|source| PolicyError::Form { path: path.to_owned(), source })
    }

    /// Whether `user` may do this with `repository`.
    pub(crate) fn allows(&self, user: &str, repository: &str, action: Action) -> bool {
        [user, "*"]
            .iter()
            .filter_map(|user| self.0.0.get(*user))
            .flat_map(|patterns| &patterns.0)
            .any(|(pattern, actions)| actions.contains(&action) && matches(pattern, repository))
    }
}

/// Whether a repository's name is one of the pattern's.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    all_match(
        &pattern,
        &name,
        |pattern| *pattern == "**",
        |pattern, part| {
            let pattern: Vec<char> = pattern.chars().collect();
            let part: Vec<char> = part.chars().collect();
            all_match(&pattern, &part, |c| *c == '*', |a, b| a == b)
        },
    )
}

/// Whether the items match one by one, where a wild one stands for any number. Goes back to the last wild item only, so
/// that no pattern takes longer than the product of both lengths.
fn all_match<T>(pattern: &[T], items: &[T], is_wild: impl Fn(&T) -> bool, equal: impl Fn(&T, &T) -> bool) -> bool {
    let (mut at, mut item, mut last_wild) = (0, 0, None);
    while item < items.len() {
        if at < pattern.len() && is_wild(&pattern[at]) {
            last_wild = Some((at, item));
            at += 1;
        } else if at < pattern.len() && equal(&pattern[at], &items[item]) {
            at += 1;
            item += 1;
        } else if let Some((wild, taken)) = last_wild {
            last_wild = Some((wild, taken + 1));
            at = wild + 1;
            item = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(is_wild)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_matched_by_component() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "a/b", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/*", "a", false),
            ("a/b*d", "a/bcd", true),
            ("a/**", "a/b/c", true),
            ("**", "a/b", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/b/y", false),
            ("a*", "ab/c", false),
            ("*a*a*a*", "aaa", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        let (pattern, name) = ("*a".repeat(100), "a".repeat(255) + "b");
        assert!(!matches(&pattern, &name), "and soon");
    }

    #[test]
    fn what_no_rule_allows_is_forbidden() {
        let policy: Policy =
            serde_json::from_str(r#"{"ci": {"team/*": ["pull", "push"]}, "*": {"library/**": ["pull"]}}"#).unwrap();
        assert!(policy.allows("ci", "team/app", Action::Push) && policy.allows("ci", "library/x", Action::Pull));
        assert!(!policy.allows("ci", "team/app", Action::Delete) && !policy.allows("bob", "team/app", Action::Pull));
        assert!(policy.allows("bob", "library/a/b", Action::Pull) && !policy.allows("bob", "library/a", Action::Push));
        let twice = [r#"{"ci": {"a": []}, "ci": {"b": []}}"#, r#"{"ci": {"a": ["pull"], "a": []}}"#];
        assert!(twice.iter().all(|bad| serde_json::from_str::<Policy>(bad).is_err()));
        for bad in [r#"{"ci": {"a": ["own"]}}"#, r#"{"ci": ["pull"]}"#, "[]"] {
            assert!(serde_json::from_str::<Policy>(bad).is_err(), "{bad}");
        }
    }
}
