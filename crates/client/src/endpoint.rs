// SPDX-License-Identifier: Apache-2.0
//! Where the daemon listens: `-H`, then `CORTEN_HOST`, then the default.

use std::path::{Path, PathBuf};

use crate::autostart::Roots;
use crate::error::ClientError;

/// Where sockets and process state live unless `CORTEN_EXEC_ROOT` says otherwise.
pub const DEFAULT_EXEC_ROOT: &str = "/run/corten";
/// Where images and containers live unless `CORTEN_DATA_ROOT` says otherwise.
pub const DEFAULT_DATA_ROOT: &str = "/var/lib/corten";

/// A daemon's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The unix socket.
    pub socket: PathBuf,
    /// The directories of the daemon to start when nothing listens; `None` when the user named an address, which then
    /// is somebody's to serve.
    pub start: Option<Roots>,
}

impl Endpoint {
    /// The address that `flag` (the value of `-H`) and the environment name.
    ///
    /// # Errors
    /// An address that is not `unix://` and an absolute path.
    pub fn resolve(flag: Option<&str>, environment: impl Fn(&str) -> Option<String>) -> Result<Endpoint, ClientError> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        if let Some(address) = flag.map(str::to_owned).or_else(|| set("CORTEN_HOST")) {
            return Ok(Endpoint { socket: socket_of(&address)?, start: None });
        }
        let roots = Roots {
            exec_root: set("CORTEN_EXEC_ROOT").map_or_else(|| PathBuf::from(DEFAULT_EXEC_ROOT), PathBuf::from),
            data_root: set("CORTEN_DATA_ROOT").map_or_else(|| PathBuf::from(DEFAULT_DATA_ROOT), PathBuf::from),
        };
        Ok(Endpoint { socket: roots.exec_root.join("corten.sock"), start: Some(roots) })
    }
}

/// The socket that `unix:///path` names.
///
/// # Errors
/// Another scheme, or no absolute path.
pub fn socket_of(address: &str) -> Result<PathBuf, ClientError> {
    let unusable = |reason| ClientError::Address { address: address.to_owned(), reason };
    match address.split_once("://") {
        Some(("unix", path)) if Path::new(path).is_absolute() => Ok(PathBuf::from(path)),
        Some(("unix", _)) => Err(unusable("the path must be absolute, as in unix:///run/corten/corten.sock")),
        Some(("tcp" | "http" | "https" | "ssh", _)) => Err(unusable("only unix:// is spoken yet")),
        _ => Err(unusable("an address looks like unix:///run/corten/corten.sock")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flag: Option<&str>, environment: &[(&str, &str)]) -> Result<Endpoint, ClientError> {
        Endpoint::resolve(flag, |name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_both_forbid_starting_a_daemon() {
        let flag = resolve(Some("unix:///a"), &[("CORTEN_HOST", "unix:///b")]).unwrap();
        assert_eq!(flag, Endpoint { socket: "/a".into(), start: None });
        let environment = resolve(None, &[("CORTEN_HOST", "unix:///b")]).unwrap();
        assert_eq!(environment, Endpoint { socket: "/b".into(), start: None });
    }

    #[test]
    fn the_default_may_be_started_and_follows_the_roots() {
        assert_eq!(resolve(None, &[("CORTEN_HOST", "")]).unwrap().socket, Path::new("/run/corten/corten.sock"));
        let moved = resolve(None, &[("CORTEN_EXEC_ROOT", "/tmp/e"), ("CORTEN_DATA_ROOT", "/tmp/d")]).unwrap();
        assert_eq!(moved.socket, Path::new("/tmp/e/corten.sock"));
        assert_eq!(moved.start.unwrap().data_root, Path::new("/tmp/d"));
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused() {
        for address in ["tcp://127.0.0.1:2375", "unix://relative", "/run/corten.sock", "", "ssh://host"] {
            assert!(socket_of(address).is_err(), "{address}");
        }
    }
}
