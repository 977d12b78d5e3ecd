// SPDX-License-Identifier: Apache-2.0
//! Contexts: daemons that have names. They are kept where and as the docker CLI keeps them, so that both have the same:
//! `contexts/meta/<sha256 of the name>/meta.json` and `contexts/tls/<the same>/docker/{ca,cert,key}.pem` in `$DOCKER_CONFIG`
//! or `~/.docker`, and the one in use as `currentContext` in `config.json` there.

mod archive;
mod error;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

pub use self::error::ContextError;
use crate::tls::TlsFiles;

/// The context of this host's own daemon. It is not kept anywhere.
pub const DEFAULT_CONTEXT: &str = "default";
/// The endpoint of a context that is a daemon.
const ENDPOINT: &str = "docker";
/// Its files below `tls/`.
const TLS_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// A context as it is kept. What others have written there stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoredContext {
    /// Its name.
    pub name: String,
    /// What is noted of it, its description among that.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Where it leads.
    #[serde(default)]
    pub endpoints: Map<String, Value>,
}

impl StoredContext {
    /// A context `name` for the daemon at `host`.
    pub fn new(name: &str, host: &str, description: &str) -> StoredContext {
        let mut context = StoredContext { name: name.to_owned(), metadata: Map::new(), endpoints: Map::new() };
        context.describe(description);
        context.lead_to(host);
        context
    }

    /// Its description; empty when it has none.
    pub fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Gives it another description.
    pub fn describe(&mut self, description: &str) {
        if description.is_empty() {
            self.metadata.remove("Description");
        } else {
            self.metadata.insert("Description".into(), description.into());
        }
    }

    /// Has it mean the daemon at `host`.
    pub fn lead_to(&mut self, host: &str) {
        self.endpoints.insert(ENDPOINT.into(), json!({"Host": host, "SkipTLSVerify": false}));
    }

    /// The address of its daemon.
    ///
    /// # Errors
    /// It has none, or one that is not to be verified.
    pub fn host(&self) -> Result<&str, ContextError> {
        let endpoint = self.endpoints.get(ENDPOINT);
        if endpoint.is_some_and(|endpoint| endpoint["SkipTLSVerify"] == Value::Bool(true)) {
            return Err(ContextError::Unverified(self.name.clone()));
        }
        endpoint
            .and_then(|endpoint| endpoint["Host"].as_str())
            .ok_or_else(|| ContextError::NoEndpoint(self.name.clone()))
    }
}

/// The contexts of a user.
#[derive(Debug, Clone)]
pub struct ContextStore {
    root: Option<PathBuf>,
}

/// `$DOCKER_CONFIG` or `~/.docker`.
pub(crate) fn docker_directory(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")))
}

impl ContextStore {
    /// The contexts in `$DOCKER_CONFIG` or `~/.docker`.
    pub fn of_user(environment: impl Fn(&str) -> Option<String>) -> ContextStore {
        ContextStore { root: docker_directory(environment) }
    }

    /// The contexts below `root`.
    pub fn new(root: PathBuf) -> ContextStore {
        ContextStore { root: Some(root) }
    }

    fn root(&self) -> Result<&Path, ContextError> {
        self.root.as_deref().ok_or(ContextError::Homeless)
    }

    fn meta(&self, name: &str) -> Result<PathBuf, ContextError> {
        Ok(self.root()?.join("contexts/meta").join(directory_of(name)))
    }

    fn tls(&self, name: &str) -> Result<PathBuf, ContextError> {
        Ok(self.root()?.join("contexts/tls").join(directory_of(name)))
    }

    /// All contexts but `default`, by name; and what is wrong with those that cannot be read.
    ///
    /// # Errors
    /// None of them can be found.
    pub fn list(&self) -> Result<(Vec<StoredContext>, Vec<ContextError>), ContextError> {
        let nothing = (Vec::new(), Vec::new());
        let Some(root) = &self.root else { return Ok(nothing) };
        let directory = root.join("contexts/meta");
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(nothing),
            Err(error) => return Err(ContextError::io("read", &directory, error)),
        };
        let (mut all, mut unreadable) = nothing;
        for entry in entries {
            let path = entry.map_err(|error| ContextError::io("read", &directory, error))?.path().join("meta.json");
            match read_meta(&path) {
                Ok(context) => all.extend(context),
                Err(error) => unreadable.push(error),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((all, unreadable))
    }

    /// The context `name`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn read(&self, name: &str) -> Result<StoredContext, ContextError> {
        check_name(name)?;
        read_meta(&self.meta(name)?.join("meta.json"))?.ok_or_else(|| ContextError::Missing(name.to_owned()))
    }

    /// The certificates of a context's daemon, where it has some.
    ///
    /// # Errors
    /// The store is nowhere.
    pub fn tls_of(&self, context: &StoredContext) -> Result<Option<TlsFiles>, ContextError> {
        let found = TlsFiles::in_directory(&self.tls(&context.name)?.join(ENDPOINT));
        Ok(Some(found).filter(|found| *found != TlsFiles::default()))
    }

    /// Where a context's certificates and its record are kept.
    ///
    /// # Errors
    /// The store is nowhere.
    pub fn places(&self, name: &str) -> Result<(PathBuf, PathBuf), ContextError> {
        Ok((self.meta(name)?, self.tls(name)?))
    }

    /// Keeps a new context, with copies of the certificates `tls`.
    ///
    /// # Errors
    /// Its name is none or taken, or it cannot be written.
    pub fn create(&self, name: &str, context: &StoredContext, tls: &TlsFiles) -> Result<(), ContextError> {
        check_name(name)?;
        if self.meta(name)?.join("meta.json").exists() {
            return Err(ContextError::Taken(name.to_owned()));
        }
        self.write(context, Some(tls))
    }

    /// Writes a context anew; with `tls`, its certificates as well.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, context: &StoredContext, tls: Option<&TlsFiles>) -> Result<(), ContextError> {
        check_name(&context.name)?;
        if let Some(tls) = tls {
            // Read before anything is written: bad input changes nothing.
            let identity = tls.identity.as_ref();
            let sources = [tls.authority.as_ref(), identity.map(|pair| &pair.0), identity.map(|pair| &pair.1)];
            let mut contents = Vec::new();
            for (source, name) in sources.into_iter().zip(TLS_FILES) {
                if let Some(source) = source {
                    contents.push((name, fs::read(source).map_err(|error| ContextError::io("read", source, error))?));
                }
            }
            self.write_tls(&context.name, &contents)?;
        }
        let text = serde_json::to_vec(context).map_err(ContextError::Encode)?;
        write_private(&self.meta(&context.name)?, "meta.json", &text)
    }

    fn write_tls(&self, name: &str, contents: &[(&str, Vec<u8>)]) -> Result<(), ContextError> {
        let directory = self.tls(name)?;
        remove_directory(&directory)?;
        contents.iter().try_for_each(|(file, text)| write_private(&directory.join(ENDPOINT), file, text))
    }

    /// Forgets a context and its certificates.
    ///
    /// # Errors
    /// There is none, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), ContextError> {
        self.read(name)?;
        remove_directory(&self.meta(name)?)?;
        remove_directory(&self.tls(name)?)
    }

    /// The context in use, unless it is the default one.
    ///
    /// # Errors
    /// Docker's configuration cannot be read.
    pub fn current(&self) -> Result<Option<String>, ContextError> {
        let name = self.configuration()?.get("currentContext").and_then(Value::as_str).map(str::to_owned);
        Ok(name.filter(|name| !name.is_empty()))
    }

    /// Uses the context `name` from now on, or the default one. The rest of Docker's configuration stays as it is.
    ///
    /// # Errors
    /// There is no such context, or the configuration cannot be written.
    pub fn set_current(&self, name: Option<&str>) -> Result<(), ContextError> {
        let mut configuration = self.configuration()?;
        match name {
            Some(name) => {
                self.read(name)?;
                configuration.insert("currentContext".into(), name.into());
            }
            None => {
                configuration.remove("currentContext");
            }
        }
        let text = serde_json::to_vec_pretty(&configuration).map_err(ContextError::Encode)?;
        write_private(self.root()?, "config.json", &text)
    }

    fn configuration(&self) -> Result<Map<String, Value>, ContextError> {
        let Some(root) = &self.root else { return Ok(Map::new()) };
        let path = root.join("config.json");
        match fs::read(&path) {
            Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Ok(Map::new()),
            Ok(text) => serde_json::from_slice(&text).map_err(|source| ContextError::Malformed { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
            Err(error) => Err(ContextError::io("read", &path, error)),
        }
    }
}

/// The directory of a context: no name is a path.
fn directory_of(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Docker's rule for names.
fn check_name(name: &str) -> Result<(), ContextError> {
    let is_one = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if name == DEFAULT_CONTEXT {
        return Err(ContextError::Reserved);
    }
    if first && name.len() > 1 && name.bytes().all(is_one) { Ok(()) } else { Err(ContextError::Name(name.to_owned())) }
}

fn read_meta(path: &Path) -> Result<Option<StoredContext>, ContextError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| ContextError::Malformed { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ContextError::io("read", path, error)),
    }
}

/// Writes a file for its owner alone; whoever reads it finds the whole of it or what was there before.
fn write_private(directory: &Path, name: &str, text: &[u8]) -> Result<(), ContextError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| ContextError::io("make", directory, error))?;
    let path = directory.join(name);
    // Where a configuration is a link into somebody's collection of such files, the link stays.
    let path = fs::canonicalize(&path).unwrap_or(path);
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".{}.part", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, &path));
    written.map_err(|error| {
        // The failure is told; half a file is of no use to anybody.
        let _ = fs::remove_file(&temporary);
        ContextError::io("write", &path, error)
    })
}

fn remove_directory(path: &Path) -> Result<(), ContextError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ContextError::io("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
