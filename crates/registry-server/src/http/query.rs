// SPDX-License-Identifier: Apache-2.0
//! The part of an address behind the question mark.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::ApiError;

/// Pairs that are looked at.
const MOST: usize = 64;
/// What need not be escaped in a query.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// A query's parameters, in their order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// The query of `uri`. A plus is a plus, as in media types, and no space.
    pub(crate) fn of(uri: &Uri) -> Query {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).take(MOST);
        Query(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a number, not below zero.
    pub(crate) fn number(&self, name: &'static str) -> Result<Option<usize>, ApiError> {
        self.get(name).map(|value| value.parse().map_err(|_| ApiError::Query { name })).transpose()
    }
}

/// `text` as a parameter's value.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_may_repeat() {
        let query = Query::of(&"/v2/?tag=a&tag=b%2Fc&artifactType=a/b+json&n=3&flag&m=-1".parse().unwrap());
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b/c"]);
        assert_eq!(query.get("artifactType"), Some("a/b+json"));
        assert_eq!((query.number("n").unwrap(), query.number("none").unwrap()), (Some(3), None));
        assert!(query.number("flag").is_err() && query.number("m").is_err());
        assert_eq!(escape("a/b+json&x=1"), "a/b%2Bjson%26x%3D1");
    }
}
