// SPDX-License-Identifier: Apache-2.0
//! Networks' ids: 64 hexadecimal digits, as Docker's clients expect them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many digits an id has.
const LENGTH: usize = 64;

/// A network's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkId(String);

/// Why a text is not a network's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a network: 64 hexadecimal digits")]
pub struct NetworkIdError(String);

impl NetworkId {
    /// The id that `random` spells.
    pub fn from_random(random: [u8; 32]) -> NetworkId {
        NetworkId(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The default bridge's. The predefined networks' ids are the same on every host: they need no record.
    pub fn bridge() -> NetworkId {
        NetworkId::predefined("b1")
    }

    /// The host's own network's.
    pub fn host() -> NetworkId {
        NetworkId::predefined("50")
    }

    /// That of no network at all.
    pub fn none() -> NetworkId {
        NetworkId::predefined("00")
    }

    /// Begins with its own two digits, so that no two of them have a long prefix in common.
    fn predefined(digits: &str) -> NetworkId {
        NetworkId(format!("{digits}c0de{}", "0".repeat(LENGTH - digits.len() - 4)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as lists show it.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for NetworkId {
    type Err = NetworkIdError;

    fn from_str(text: &str) -> Result<NetworkId, NetworkIdError> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != LENGTH || !text.bytes().all(is_digit) {
            return Err(NetworkIdError(text.chars().take(LENGTH + 1).collect()));
        }
        Ok(NetworkId(text.to_owned()))
    }
}

impl TryFrom<String> for NetworkId {
    type Error = NetworkIdError;

    fn try_from(text: String) -> Result<NetworkId, NetworkIdError> {
        text.parse()
    }
}

impl From<NetworkId> for String {
    fn from(id: NetworkId) -> String {
        id.0
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixty_four_digits() {
        for id in [NetworkId::bridge(), NetworkId::host(), NetworkId::none(), NetworkId::from_random([0xa7; 32])] {
            assert_eq!(id.as_str().parse::<NetworkId>().unwrap(), id);
        }
        for bad in ["", "bridge", &"A".repeat(64), &"a".repeat(63), &"ü".repeat(32)] {
            assert!(bad.parse::<NetworkId>().is_err(), "{bad}");
        }
    }
}
