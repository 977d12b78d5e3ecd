// SPDX-License-Identifier: Apache-2.0
//! Which daemon is meant: flags first, then the environment, then the context in use, then this host's own.
//!
//! The order is the docker CLI's. Called as `corten` the variables are Corten's own, so that a shell that is set up for
//! another Docker does not send Corten's commands there.

use std::path::PathBuf;

use crate::address::Address;
use crate::autostart::Roots;
use crate::contexts::{ContextStore, DEFAULT_CONTEXT};
use crate::error::ClientError;
use crate::tls::TlsFiles;

/// Where sockets and process state live unless `CORTEN_EXEC_ROOT` says otherwise.
pub const DEFAULT_EXEC_ROOT: &str = "/run/corten";
/// Where images and containers live unless `CORTEN_DATA_ROOT` says otherwise.
pub const DEFAULT_DATA_ROOT: &str = "/var/lib/corten";

/// What the program is called where it stands in for Docker's command line.
const DOCKER: &str = "docker";

/// What a command line says of the daemon that it means.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// That the program was called as `docker`, and listens to Docker's variables.
    pub as_docker: bool,
    /// `-H`.
    pub host: Option<String>,
    /// `--context`.
    pub context: Option<String>,
    /// `--tlsverify`.
    pub tls_verify: bool,
    /// `--tlscacert`.
    pub authority: Option<PathBuf>,
    /// `--tlscert`.
    pub certificate: Option<PathBuf>,
    /// `--tlskey`.
    pub key: Option<PathBuf>,
}

/// A daemon to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// With which certificates, when TCP has TLS.
    pub tls: Option<TlsFiles>,
    /// The directories of the daemon to start when nothing listens; `None` when the user named an address, which then
    /// is somebody's to serve.
    pub start: Option<Roots>,
    /// The program that finds the daemon on a machine that SSH logs in to.
    pub remote_program: &'static str,
}

/// Where the choice of a daemon came from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Host(String),
    Context(String),
    Default,
}

impl Endpoint {
    /// The daemon that `wish` and the environment mean.
    ///
    /// # Errors
    /// An address that cannot be used, a context that is not there, certificates without their keys.
    pub fn resolve(wish: &Wish, environment: impl Fn(&str) -> Option<String>) -> Result<Endpoint, ClientError> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let contexts = ContextStore::of_user(&environment);
        match choose(wish, &contexts, set)? {
            Choice::Host(address) => {
                let address: Address = address.parse()?;
                let tls = if matches!(address, Address::Tcp(_)) { tls_of(wish, set)? } else { None };
                Endpoint::at(address, tls, wish.as_docker)
            }
            Choice::Context(name) => {
                let context = contexts.read(&name)?;
                let tls = contexts.tls_of(&context)?;
                Endpoint::at(context.host()?.parse()?, tls, wish.as_docker)
            }
            Choice::Default => {
                let roots = Roots {
                    exec_root: set("CORTEN_EXEC_ROOT").map_or_else(|| PathBuf::from(DEFAULT_EXEC_ROOT), PathBuf::from),
                    data_root: set("CORTEN_DATA_ROOT").map_or_else(|| PathBuf::from(DEFAULT_DATA_ROOT), PathBuf::from),
                };
                let address = Address::Unix(roots.exec_root.join("corten.sock"));
                Ok(Endpoint { start: Some(roots), ..Endpoint::at(address, None, wish.as_docker)? })
            }
        }
    }

    /// Whether the program was called as `docker`.
    pub fn stands_in_for_docker(&self) -> bool {
        self.remote_program == DOCKER
    }

    fn at(address: Address, tls: Option<TlsFiles>, as_docker: bool) -> Result<Endpoint, ClientError> {
        if address == Address::Inherited {
            let reason = "fd:// is where a daemon listens that a service manager starts";
            return Err(ClientError::Address { address: address.to_string(), reason });
        }
        Ok(Endpoint { address, tls, start: None, remote_program: if as_docker { DOCKER } else { "corten" } })
    }
}

/// The name of the context in use: `default` where an address is named, or nothing at all.
///
/// # Errors
/// Both an address and a context are given as flags; Docker's configuration cannot be read.
pub fn context_in_use(wish: &Wish, environment: impl Fn(&str) -> Option<String>) -> Result<String, ClientError> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    Ok(match choose(wish, &ContextStore::of_user(&environment), set)? {
        Choice::Context(name) => name,
        Choice::Host(_) | Choice::Default => DEFAULT_CONTEXT.to_owned(),
    })
}

fn choose(wish: &Wish, contexts: &ContextStore, set: impl Fn(&str) -> Option<String>) -> Result<Choice, ClientError> {
    let (host, context) =
        if wish.as_docker { ("DOCKER_HOST", "DOCKER_CONTEXT") } else { ("CORTEN_HOST", "CORTEN_CONTEXT") };
    let named = |name: String| if name == DEFAULT_CONTEXT { Choice::Default } else { Choice::Context(name) };
    if wish.host.is_some() && wish.context.is_some() {
        return Err(ClientError::TwoDaemons);
    }
    // `--context default` means what the environment says, as it does to Docker.
    let explicit = wish.context.clone().filter(|name| name != DEFAULT_CONTEXT);
    if let Some(name) = explicit {
        return Ok(Choice::Context(name));
    }
    if let Some(address) = wish.host.clone().or_else(|| set(host)) {
        return Ok(Choice::Host(address));
    }
    if wish.context.is_some() {
        return Ok(Choice::Default);
    }
    if let Some(name) = set(context) {
        return Ok(named(name));
    }
    Ok(contexts.current()?.map_or(Choice::Default, named))
}

/// The certificates for TCP, when flags or `DOCKER_TLS_VERIFY` want them.
fn tls_of(wish: &Wish, set: impl Fn(&str) -> Option<String>) -> Result<Option<TlsFiles>, ClientError> {
    let given = wish.authority.is_some() || wish.certificate.is_some() || wish.key.is_some();
    if !wish.tls_verify && !given && set("DOCKER_TLS_VERIFY").is_none() {
        return Ok(None);
    }
    let directory = set("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| crate::contexts::docker_directory(&set));
    let usual = directory.map(|directory| TlsFiles::in_directory(&directory)).unwrap_or_default();
    let identity = match (&wish.certificate, &wish.key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => usual.identity,
        _ => return Err(ClientError::HalfAnIdentity),
    };
    Ok(Some(TlsFiles { authority: wish.authority.clone().or(usual.authority), identity }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn resolve(wish: &Wish, environment: &[(&str, &str)]) -> Result<Endpoint, ClientError> {
        Endpoint::resolve(wish, |name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn host(address: &str) -> Wish {
        Wish { host: Some(address.to_owned()), ..Wish::default() }
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_both_forbid_starting_a_daemon() {
        let flag = resolve(&host("unix:///a"), &[("CORTEN_HOST", "unix:///b")]).unwrap();
        assert_eq!((flag.address, flag.start), (Address::Unix("/a".into()), None));
        let environment = resolve(&Wish::default(), &[("CORTEN_HOST", "unix:///b")]).unwrap();
        assert_eq!((environment.address, environment.start), (Address::Unix("/b".into()), None));
    }

    #[test]
    fn the_default_may_be_started_and_follows_the_roots() {
        let default = resolve(&Wish::default(), &[("CORTEN_HOST", "")]).unwrap();
        assert_eq!(default.address.to_string(), "unix:///run/corten/corten.sock");
        let roots = [("CORTEN_EXEC_ROOT", "/tmp/e"), ("CORTEN_DATA_ROOT", "/tmp/d")];
        let moved = resolve(&Wish::default(), &roots).unwrap();
        assert_eq!(moved.address.to_string(), "unix:///tmp/e/corten.sock");
        assert_eq!(moved.start.unwrap().data_root, Path::new("/tmp/d"));
    }

    #[test]
    fn dockers_variables_count_for_whoever_calls_it_docker() {
        let environment = [("DOCKER_HOST", "unix:///docker"), ("CORTEN_HOST", "unix:///corten")];
        let docker = Wish { as_docker: true, ..Wish::default() };
        assert_eq!(resolve(&docker, &environment).unwrap().address.to_string(), "unix:///docker");
        assert_eq!(resolve(&Wish::default(), &environment).unwrap().address.to_string(), "unix:///corten");
    }

    #[test]
    fn certificates_are_of_the_directory_unless_they_are_named() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let path = directory.path().to_str().unwrap();
        let environment = [("DOCKER_CERT_PATH", path), ("DOCKER_TLS_VERIFY", "1")];
        let found = resolve(&host("tcp://a"), &environment).unwrap().tls.unwrap();
        assert_eq!(found, TlsFiles::in_directory(directory.path()));
        assert_eq!(resolve(&host("tcp://a"), &environment[..1]).unwrap().tls, None);
        let other = Wish { authority: Some("/ca".into()), ..host("tcp://a") };
        let found = resolve(&other, &environment).unwrap().tls.unwrap();
        assert_eq!((found.authority, found.identity.is_some()), (Some("/ca".into()), true));
        let half = Wish { key: Some("/key".into()), ..host("tcp://a") };
        assert!(matches!(resolve(&half, &environment), Err(ClientError::HalfAnIdentity)));
    }

    #[test]
    fn contexts_come_last_and_default_means_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        let store = ContextStore::new(home.path().to_owned());
        store
            .create("far", &crate::contexts::StoredContext::new("far", "ssh://far", ""), &TlsFiles::default())
            .unwrap();
        let in_use = |wish: &Wish, more: &[(&str, &str)]| {
            let environment = [&[("DOCKER_CONFIG", path)], more].concat();
            resolve(wish, &environment).map(|endpoint| endpoint.address.to_string())
        };
        let context = |name: &str| Wish { context: Some(name.to_owned()), ..Wish::default() };
        assert_eq!(in_use(&context("far"), &[("CORTEN_HOST", "unix:///x")]).unwrap(), "ssh://far");
        assert_eq!(in_use(&context("default"), &[("CORTEN_HOST", "unix:///x")]).unwrap(), "unix:///x");
        assert_eq!(in_use(&Wish::default(), &[("CORTEN_CONTEXT", "far")]).unwrap(), "ssh://far");
        assert_eq!(in_use(&Wish::default(), &[]).unwrap(), "unix:///run/corten/corten.sock");
        store.set_current(Some("far")).unwrap();
        assert_eq!(in_use(&Wish::default(), &[]).unwrap(), "ssh://far");
        assert_eq!(in_use(&context("default"), &[]).unwrap(), "unix:///run/corten/corten.sock");
        assert!(in_use(&context("nowhere"), &[]).is_err());
        let both = Wish { host: Some("unix:///x".into()), ..context("far") };
        assert!(matches!(in_use(&both, &[]), Err(ClientError::TwoDaemons)));
    }
}
