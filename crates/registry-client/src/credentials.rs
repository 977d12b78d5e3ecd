// SPDX-License-Identifier: Apache-2.0
//! User names and passwords, as `docker login` stores them in `config.json`.
//!
//! The file is read when a registry asks, not before: whoever logs in while the daemon runs is known at once.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use errors::{Classify, Kind};
use serde::Deserialize;

/// The key under which Docker stores the credentials of its own registry.
const DOCKER_HUB_KEY: &str = "index.docker.io";
/// Longer files are no configuration.
const MAX_CONFIG: u64 = 4 << 20;

/// A user name and a password (or access token).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// The password must not reach a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The value of an `Authorization` header (RFC 7617).
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", BASE64.encode(format!("{}:{}", self.username, self.password)))
    }
}

/// Where credentials come from.
#[derive(Debug, Clone)]
pub enum CredentialSource {
    /// Nowhere: every registry is asked anonymously.
    Anonymous,
    /// The same for every registry: what the caller of the API sent along.
    Fixed(Credentials),
    /// A Docker `config.json`; a missing file holds no credentials.
    DockerConfig(PathBuf),
}

/// Why credentials could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what Docker writes.
    #[error("{path:?} is not a valid Docker configuration")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// An entry is not the base64 of `user:password`.
    #[error("the entry {entry:?} in {path:?} is not base64 of USER:PASSWORD")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry's key.
        entry: String,
    },
}

impl Classify for CredentialsError {
    fn kind(&self) -> Kind {
        match self {
            CredentialsError::Read { source, .. } => errors::kind_of_io(source),
            CredentialsError::Parse { .. } | CredentialsError::Entry { .. } => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CredentialsError::Read { .. } => None,
            _ => Some("repair the file, or log in again with `docker login`".to_owned()),
        }
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

impl CredentialSource {
    /// `config.json` in `$DOCKER_CONFIG`, or else in `~/.docker`. Anonymous where there is no home.
    pub fn docker_config() -> CredentialSource {
        let directory = std::env::var_os("DOCKER_CONFIG")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")));
        match directory {
            Some(directory) => CredentialSource::DockerConfig(directory.join("config.json")),
            None => CredentialSource::Anonymous,
        }
    }

    /// The credentials for `registry` (a host and perhaps a port, as in an image name). Blocks on a small file.
    pub(crate) fn find(&self, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
        let path = match self {
            CredentialSource::Anonymous => return Ok(None),
            CredentialSource::Fixed(credentials) => return Ok(Some(credentials.clone())),
            CredentialSource::DockerConfig(path) => path,
        };
        let read_error = |source| CredentialsError::Read { path: path.clone(), source };
        let text = match std::fs::File::open(path) {
            Ok(file) => {
                let mut text = Vec::new();
                io::Read::read_to_end(&mut io::Read::take(file, MAX_CONFIG), &mut text).map_err(read_error)?;
                text
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(read_error(error)),
        };
        let config: Config =
            serde_json::from_slice(&text).map_err(|source| CredentialsError::Parse { path: path.clone(), source })?;
        let wanted = if registry == "docker.io" { DOCKER_HUB_KEY } else { registry };
        for (key, entry) in &config.auths {
            if host_of(key) == wanted {
                return entry
                    .credentials()
                    .map_err(|NotBase64| CredentialsError::Entry { path: path.clone(), entry: key.clone() });
            }
        }
        Ok(None)
    }
}

struct NotBase64;

impl Entry {
    /// `None` when the entry is empty, as it is when a credential helper keeps the secret.
    fn credentials(&self) -> Result<Option<Credentials>, NotBase64> {
        if let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let bytes = BASE64.decode(auth.trim()).map_err(|_| NotBase64)?;
            let text = String::from_utf8(bytes).map_err(|_| NotBase64)?;
            let (username, password) = text.split_once(':').ok_or(NotBase64)?;
            // Docker pads passwords with NUL bytes in old files.
            let password = password.trim_end_matches('\0');
            return Ok(Some(Credentials { username: username.to_owned(), password: password.to_owned() }));
        }
        match (&self.username, &self.password) {
            (Some(username), Some(password)) if !username.is_empty() => {
                Ok(Some(Credentials { username: username.clone(), password: password.clone() }))
            }
            _ => Ok(None),
        }
    }
}

/// The host and port of a key, which may be a URL.
fn host_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(config: &str, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        CredentialSource::DockerConfig(path).find(registry)
    }

    #[test]
    fn every_form_that_docker_writes_is_found() {
        let config = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}},"r.example:5000":{{"auth":"{}"}},
               "http://old.example/v2/":{{"username":"u","password":"p"}},"helper.example":{{}}}},"credsStore":"x"}}"#,
            BASE64.encode("hub:secret"),
            BASE64.encode("me:pass:with:colons"),
        );
        let user = |registry| find(&config, registry).unwrap().map(|c| (c.username, c.password));
        assert_eq!(user("docker.io"), Some(("hub".into(), "secret".into())));
        assert_eq!(user("r.example:5000"), Some(("me".into(), "pass:with:colons".into())));
        assert_eq!(user("old.example"), Some(("u".into(), "p".into())));
        assert_eq!(user("helper.example"), None);
        assert_eq!(user("r.example"), None, "another port is another registry");
    }

    #[test]
    fn a_broken_file_is_an_error_and_a_missing_one_is_not() {
        assert!(matches!(find("{", "a"), Err(CredentialsError::Parse { .. })));
        assert!(matches!(find(r#"{"auths":{"a":{"auth":"%"}}}"#, "a"), Err(CredentialsError::Entry { .. })));
        let missing = CredentialSource::DockerConfig("/nonexistent/config.json".into());
        assert!(missing.find("a").unwrap().is_none());
    }

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials { username: "u".into(), password: "hunter2".into() };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
