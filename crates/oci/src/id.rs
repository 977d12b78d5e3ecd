// SPDX-License-Identifier: Apache-2.0
//! Container ids. The engine makes 64 hexadecimal digits; the OCI command line accepts what runc accepts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A container's id: safe as a file name, because it is used as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// Why a text is not a container id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a container id: 1 to 255 letters, digits, `_`, `+`, `-` or `.`, not `.` or `..`")]
pub struct IdError(String);

impl ContainerId {
    /// The id of 64 hexadecimal digits that `random` spells.
    pub fn from_random(random: [u8; 32]) -> ContainerId {
        ContainerId(hex::encode(random))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 characters, as lists and host names show it.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(12)]
    }
}

impl FromStr for ContainerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<ContainerId, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
        if text.is_empty() || text.len() > 255 || matches!(text, "." | "..") || !text.bytes().all(allowed) {
            return Err(IdError(text.chars().take(64).collect()));
        }
        Ok(ContainerId(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerId {
    type Error = IdError;

    fn try_from(text: String) -> Result<ContainerId, IdError> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> String {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_always_a_file_name() {
        for bad in ["", ".", "..", "a/b", "a\0b", "ü", &"x".repeat(256)] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
        assert_eq!("a-1_b+c.d".parse::<ContainerId>().unwrap().short(), "a-1_b+c.d");
    }
}
