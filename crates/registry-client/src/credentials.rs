// SPDX-License-Identifier: Apache-2.0
//! User names with their passwords and tokens, and the header in which API clients send them along.

use std::fmt;

use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD as BASE64, URL_SAFE};
use base64::engine::{DecodePaddingMode, Engine as _};
use serde::{Deserialize, Serialize};

/// Both alphabets and paddings are in use for `X-Registry-Auth`; the other alphabet's letters are exchanged before.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who somebody is to a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name; may be empty beside a token.
    pub username: String,
    /// What proves it.
    pub secret: Secret,
}

/// What proves who somebody is.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A password, or an access token that is used like one.
    Password(String),
    /// A refresh token, with which the registry's token service gives tokens ("identity token" in Docker's words).
    Identity(String),
    /// A token that the registry itself takes.
    Bearer(String),
}

/// The secret must not reach a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A header that is no base64 of JSON with a user name and a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("X-Registry-Auth is not the base64 of a JSON object with credentials")]
pub struct BadHeader;

/// The content of `X-Registry-Auth`, and of a body of `POST /auth` (Docker Engine API, "Authentication").
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct AuthConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    password: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    registrytoken: String,
}

impl Credentials {
    /// A user name and a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Credentials {
        Credentials { username: username.into(), secret: Secret::Password(password.into()) }
    }

    /// The value of an `Authorization` header (RFC 7617), where there is a password.
    pub(crate) fn basic(&self) -> Option<String> {
        let Secret::Password(password) = &self.secret else { return None };
        Some(format!("Basic {}", BASE64.encode(format!("{}:{password}", self.username))))
    }

    /// The value of an `X-Registry-Auth` header.
    pub fn to_header(&self) -> String {
        let mut config = AuthConfig { username: self.username.clone(), ..AuthConfig::default() };
        match &self.secret {
            Secret::Password(password) => config.password.clone_from(password),
            Secret::Identity(token) => config.identitytoken.clone_from(token),
            Secret::Bearer(token) => config.registrytoken.clone_from(token),
        }
        // A struct of strings always becomes JSON.
        URL_SAFE.encode(serde_json::to_vec(&config).unwrap_or_default())
    }

    /// What an `X-Registry-Auth` header holds: `None` when it names nobody, as Docker's client writes it for registries
    /// that it knows no user of.
    ///
    /// # Errors
    /// [`BadHeader`].
    pub fn from_header(value: &[u8]) -> Result<Option<Credentials>, BadHeader> {
        let translated: Vec<u8> = value
            .trim_ascii()
            .iter()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                byte => *byte,
            })
            .collect();
        if translated.is_empty() {
            return Ok(None);
        }
        Credentials::from_json(&LENIENT.decode(translated).map_err(|_| BadHeader)?)
    }

    /// The same of the JSON alone.
    ///
    /// # Errors
    /// [`BadHeader`].
    pub fn from_json(json: &[u8]) -> Result<Option<Credentials>, BadHeader> {
        // Some clients write null for nobody.
        let config: Option<AuthConfig> = serde_json::from_slice(json).map_err(|_| BadHeader)?;
        let AuthConfig { username, password, identitytoken, registrytoken } = config.unwrap_or_default();
        let secret = if !registrytoken.is_empty() {
            Secret::Bearer(registrytoken)
        } else if !identitytoken.is_empty() {
            Secret::Identity(identitytoken)
        } else if !username.is_empty() {
            Secret::Password(password)
        } else {
            return Ok(None);
        };
        Ok(Some(Credentials { username, secret }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert!(!format!("{:?}", Credentials::password("u", "hunter2")).contains("hunter2"));
    }

    #[test]
    fn the_header_is_read_in_every_alphabet_and_written_in_one() {
        for credentials in [
            Credentials::password("me", "p?>~ ü"),
            Credentials { username: String::new(), secret: Secret::Identity("t".into()) },
            Credentials { username: "me".into(), secret: Secret::Bearer("t".into()) },
        ] {
            let header = credentials.to_header();
            assert!(!header.contains(['+', '/']), "{header}");
            assert_eq!(Credentials::from_header(header.as_bytes()), Ok(Some(credentials.clone())));
            let other = header.trim_end_matches('=').replace('-', "+").replace('_', "/");
            assert_eq!(Credentials::from_header(other.as_bytes()), Ok(Some(credentials)));
        }
    }

    #[test]
    fn a_header_that_names_nobody_is_no_error_and_nonsense_is() {
        for nobody in ["", "e30=", "e30", "bnVsbA==", "eyJ1c2VybmFtZSI6IiIsImVtYWlsIjoieCJ9"] {
            assert_eq!(Credentials::from_header(nobody.as_bytes()), Ok(None), "{nobody}");
        }
        for bad in ["%", "bm8=", "MQ=="] {
            assert_eq!(Credentials::from_header(bad.as_bytes()), Err(BadHeader), "{bad}");
        }
    }
}
