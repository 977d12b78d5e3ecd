// SPDX-License-Identifier: Apache-2.0
//! Docker's `config.json`: user names and passwords, and which program keeps them instead.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use errors::{Classify, Kind};
use serde::Deserialize;

use crate::credentials::{Credentials, Secret};

/// The key under which Docker stores the credentials of its own registry.
pub(crate) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Longer files are no configuration.
const MAX_CONFIG: u64 = 4 << 20;

/// Why a Docker configuration could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerConfigError {
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

impl Classify for DockerConfigError {
    fn kind(&self) -> Kind {
        match self {
            DockerConfigError::Read { source, .. } => errors::kind_of_io(source),
            DockerConfigError::Parse { .. } | DockerConfigError::Entry { .. } => Kind::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            DockerConfigError::Read { .. } => None,
            _ => Some("repair the file, or log in again with `corten login`".to_owned()),
        }
    }
}

/// The part of the file that is about registries.
#[derive(Debug, Default)]
pub(crate) struct DockerConfig {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Content {
    auths: HashMap<String, Entry>,
    creds_store: String,
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// Secrets must not reach a log.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl DockerConfig {
    /// Reads the file; one that is missing holds nothing.
    pub(crate) fn read(path: &Path) -> Result<DockerConfig, DockerConfigError> {
        let path = path.to_owned();
        let failed = |source| DockerConfigError::Read { path: path.clone(), source };
        let mut text = Vec::new();
        match std::fs::File::open(&path) {
            Ok(file) => io::Read::read_to_end(&mut io::Read::take(file, MAX_CONFIG), &mut text).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DockerConfig::default()),
            Err(error) => return Err(failed(error)),
        };
        match serde_json::from_slice(&text) {
            Ok(content) => Ok(DockerConfig { path, content }),
            Err(source) => Err(DockerConfigError::Parse { path, source }),
        }
    }

    /// The helper that keeps the credentials of `registry`: the `X` of `docker-credential-X`.
    pub(crate) fn helper(&self, registry: &str) -> Option<&str> {
        let own =
            self.content.cred_helpers.iter().find(|(key, _)| is_for(key, registry)).map(|(_, name)| name.as_str());
        own.or(Some(self.content.creds_store.as_str())).filter(|name| !name.is_empty())
    }

    /// The credentials that the file itself has for `registry` (a host and perhaps a port, as in an image name).
    pub(crate) fn find(&self, registry: &str) -> Result<Option<Credentials>, DockerConfigError> {
        let Some((key, entry)) = self.content.auths.iter().find(|(key, _)| is_for(key, registry)) else {
            return Ok(None);
        };
        entry
            .credentials()
            .map_err(|NotBase64| DockerConfigError::Entry { path: self.path.clone(), entry: key.clone() })
    }
}

/// Whether the file's key, which may be a URL, means `registry`.
fn is_for(key: &str, registry: &str) -> bool {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = host.split('/').next().unwrap_or(host);
    match registry {
        "docker.io" => matches!(host, "index.docker.io" | "docker.io" | "registry-1.docker.io"),
        registry => host == registry,
    }
}

struct NotBase64;

impl Entry {
    /// `None` when the entry is empty, as it is when a credential helper keeps the secret.
    fn credentials(&self) -> Result<Option<Credentials>, NotBase64> {
        let (mut username, mut password) = (self.username.clone(), self.password.clone());
        if !self.auth.is_empty() {
            let bytes = BASE64.decode(self.auth.trim()).map_err(|_| NotBase64)?;
            let text = String::from_utf8(bytes).map_err(|_| NotBase64)?;
            let (user, secret) = text.split_once(':').ok_or(NotBase64)?;
            // Docker pads passwords with NUL bytes in old files.
            (username, password) = (user.to_owned(), secret.trim_end_matches('\0').to_owned());
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials { username, secret: Secret::Identity(self.identitytoken.clone()) }));
        }
        Ok((!username.is_empty()).then_some(Credentials { username, secret: Secret::Password(password) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<DockerConfig, DockerConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        DockerConfig::read(&path)
    }

    #[test]
    fn every_form_that_docker_writes_is_found() {
        let text = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}},"r.example:5000":{{"auth":"{}"}},
               "http://old.example/v2/":{{"username":"u","password":"p"}},"helper.example":{{}},
               "token.example":{{"auth":"{}","identitytoken":"t"}}}},
               "credsStore":"store","credHelpers":{{"own.example":"own","off.example":""}},"psFormat":"x"}}"#,
            BASE64.encode("hub:secret"),
            BASE64.encode("me:pass:with:colons"),
            BASE64.encode("<token>:"),
        );
        let config = config(&text).unwrap();
        let found = |registry| config.find(registry).unwrap();
        assert_eq!(found("docker.io"), Some(Credentials::password("hub", "secret")));
        assert_eq!(found("r.example:5000"), Some(Credentials::password("me", "pass:with:colons")));
        assert_eq!(found("old.example"), Some(Credentials::password("u", "p")));
        assert_eq!(found("helper.example"), None);
        assert!(found("token.example").unwrap().secret == Secret::Identity("t".into()));
        assert_eq!(found("r.example"), None, "another port is another registry");
        assert_eq!((config.helper("own.example"), config.helper("a")), (Some("own"), Some("store")));
        assert_eq!(config.helper("off.example"), None, "an empty name switches the store off for one registry");
    }

    #[test]
    fn a_broken_file_is_an_error_and_a_missing_one_is_not() {
        assert!(matches!(config("{"), Err(DockerConfigError::Parse { .. })));
        let broken = config(r#"{"auths":{"a":{"auth":"%"}}}"#).unwrap();
        assert!(matches!(broken.find("a"), Err(DockerConfigError::Entry { .. })));
        let missing = DockerConfig::read(Path::new("/nonexistent/config.json")).unwrap();
        assert!(missing.find("a").unwrap().is_none() && missing.helper("a").is_none());
    }
}
