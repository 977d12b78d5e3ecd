// SPDX-License-Identifier: Apache-2.0
//! Paths and queries of requests, percent-encoded (RFC 3986, section 2.1).

use std::fmt::Write;

/// `text` with everything but unreserved characters encoded.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A path with its query.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    text: String,
    separator: char,
}

impl Path {
    pub(crate) fn new(path: impl Into<String>) -> Path {
        Path { text: path.into(), separator: '?' }
    }

    /// The same with `key=value`.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Path {
        self.text.push(self.separator);
        self.text.push_str(key);
        self.text.push('=');
        self.text.push_str(&encode(value));
        self.separator = '&';
        self
    }

    /// The same with `key=value` when there is one.
    pub(crate) fn with_some(self, key: &str, value: Option<impl AsRef<str>>) -> Path {
        match value {
            Some(value) => self.with(key, value.as_ref()),
            None => self,
        }
    }

    /// The same with `key=1` when `set`.
    pub(crate) fn with_flag(self, key: &str, set: bool) -> Path {
        if set { self.with(key, "1") } else { self }
    }

    pub(crate) fn into_string(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_survive_in_a_path() {
        assert_eq!(encode("127.0.0.1:5000/a b@sha256:é"), "127.0.0.1%3A5000%2Fa%20b%40sha256%3A%C3%A9");
    }

    #[test]
    fn a_query_is_joined_in_order() {
        let path = Path::new("/x").with("a", "1").with_flag("b", false).with_some("c", Some("&")).into_string();
        assert_eq!(path, "/x?a=1&c=%26");
    }
}
