// SPDX-License-Identifier: Apache-2.0
//! Where credentials come from, and where a login puts them: a credential helper, Corten's own store, or what Docker
//! has written.
//!
//! Everything is read when a registry asks, not before: whoever logs in while the daemon runs is known at once.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use errors::{Classify, Kind};

use crate::credential_helper::{self as helper, HelperError};
use crate::credentials::Credentials;
use crate::docker_config::{DOCKER_HUB_KEY, DockerConfig, DockerConfigError};
use crate::vault::{Vault, VaultError};

/// Where credentials come from.
#[derive(Debug, Clone)]
pub enum CredentialSource {
    /// Nowhere: every registry is asked anonymously.
    Anonymous,
    /// The same for every registry.
    Fixed(Credentials),
    /// These for one registry: what the caller of the API sent along. For its mirrors, say, somewhere else.
    For {
        /// The registry, as image names have it.
        registry: String,
        /// Who asks there.
        credentials: Credentials,
        /// Where all others' come from.
        otherwise: Box<CredentialSource>,
    },
    /// The stores of a user.
    Stores(CredentialStores),
}

/// The stores of one user. What is missing holds nothing.
#[derive(Debug, Clone, Default)]
pub struct CredentialStores {
    /// Docker's `config.json`, which may name credential helpers.
    pub docker_config: Option<PathBuf>,
    /// The directory of Corten's own store.
    pub own: Option<PathBuf>,
}

/// Why credentials could not be read or stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Docker's configuration.
    #[error(transparent)]
    DockerConfig(#[from] DockerConfigError),
    /// A credential helper.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// Corten's own store.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There is no home directory, and so no place for a password.
    #[error("there is no place to keep credentials: neither $XDG_CONFIG_HOME nor $HOME is set")]
    NoPlace,
}

impl Classify for CredentialsError {
    fn kind(&self) -> Kind {
        match self {
            CredentialsError::DockerConfig(error) => error.kind(),
            CredentialsError::Helper(error) => error.kind(),
            CredentialsError::Vault(error) => error.kind(),
            CredentialsError::NoPlace => Kind::NotFound,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CredentialsError::DockerConfig(error) => error.hint(),
            CredentialsError::Helper(error) => error.hint(),
            CredentialsError::Vault(error) => error.hint(),
            CredentialsError::NoPlace => Some("set HOME".to_owned()),
        }
    }
}

/// Where credentials are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// The credential helper of this name.
    Helper(String),
    /// Corten's own store, in this file.
    Own(PathBuf),
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keeper::Helper(name) => write!(f, "docker-credential-{name}"),
            Keeper::Own(path) => write!(f, "{}", path.display()),
        }
    }
}

impl CredentialStores {
    /// Those of the user that runs this process: `config.json` in `$DOCKER_CONFIG` or `~/.docker`, and `corten` in
    /// `$XDG_CONFIG_HOME` or `~/.config`. `variable` looks an environment variable up.
    pub fn of_user(variable: impl Fn(&str) -> Option<OsString>) -> CredentialStores {
        let directory = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let at_home = |name: &str| directory("HOME").map(|home| home.join(name));
        let docker = directory("DOCKER_CONFIG").or_else(|| at_home(".docker"));
        let config = directory("XDG_CONFIG_HOME").or_else(|| at_home(".config"));
        CredentialStores {
            docker_config: docker.map(|directory| directory.join("config.json")),
            own: config.map(|directory| directory.join("corten")),
        }
    }

    /// The credentials for `registry` (a host and perhaps a port, as in an image name): of `corten login` first, then
    /// what Docker's configuration has or names. Blocks, and may run a helper.
    ///
    /// # Errors
    /// A store is there and cannot be read.
    pub fn find(&self, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
        if let Some(own) = &self.own
            && let Some(found) = Vault::new(own).find(registry)?
        {
            return Ok(Some(found));
        }
        let config = self.docker_config()?;
        if let Some(helper) = config.helper(registry)
            && let Some(found) = helper::get(helper, key(registry))?
        {
            return Ok(Some(found));
        }
        Ok(config.find(registry)?)
    }

    /// Keeps `credentials` for `registry`: with the helper that Docker's configuration names for it, else in Corten's
    /// own store. Says where. Blocks, and may run a helper.
    ///
    /// # Errors
    /// The store cannot be written; [`CredentialsError::NoPlace`].
    pub fn store(&self, registry: &str, credentials: &Credentials) -> Result<Keeper, CredentialsError> {
        if let Some(helper) = self.docker_config()?.helper(registry) {
            helper::store(helper, key(registry), credentials)?;
            return Ok(Keeper::Helper(helper.to_owned()));
        }
        let vault = Vault::new(self.own.as_ref().ok_or(CredentialsError::NoPlace)?);
        vault.store(registry, credentials)?;
        Ok(Keeper::Own(vault.path()))
    }

    /// Forgets the credentials for `registry`, wherever [`CredentialStores::store`] may have put them. Says from where
    /// something was removed. What Docker wrote into its configuration stays.
    ///
    /// # Errors
    /// A store cannot be read or written.
    pub fn erase(&self, registry: &str) -> Result<Vec<Keeper>, CredentialsError> {
        let mut erased = Vec::new();
        if let Some(own) = &self.own
            && Vault::new(own).erase(registry)?
        {
            erased.push(Keeper::Own(Vault::new(own).path()));
        }
        if let Some(helper) = self.docker_config()?.helper(registry)
            && helper::erase(helper, key(registry))?
        {
            erased.push(Keeper::Helper(helper.to_owned()));
        }
        Ok(erased)
    }

    fn docker_config(&self) -> Result<DockerConfig, DockerConfigError> {
        self.docker_config.as_ref().map_or_else(|| Ok(DockerConfig::default()), |path| DockerConfig::read(path))
    }
}

impl CredentialSource {
    /// The stores of the user that runs this process.
    pub fn of_user() -> CredentialSource {
        CredentialSource::Stores(CredentialStores::of_user(|name| std::env::var_os(name)))
    }

    /// The credentials for `registry`. Blocks, and may run a helper. A helper that is named and not installed knows
    /// nobody: the configuration may be shared with a desktop that this host is not.
    pub(crate) fn find(&self, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
        match self {
            CredentialSource::Anonymous => Ok(None),
            CredentialSource::Fixed(credentials) => Ok(Some(credentials.clone())),
            CredentialSource::For { registry: own, credentials, .. } if own == registry => {
                Ok(Some(credentials.clone()))
            }
            CredentialSource::For { otherwise, .. } => otherwise.find(registry),
            CredentialSource::Stores(stores) => match stores.find(registry) {
                Err(CredentialsError::Helper(HelperError::Run { source, .. }))
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    Ok(None)
                }
                found => found,
            },
        }
    }
}

/// What helpers call a registry.
fn key(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER_HUB_KEY } else { registry }
}
