// SPDX-License-Identifier: Apache-2.0
//! Addresses of daemons, as `-H` takes them: `unix://`, `tcp://`, `ssh://`, and for a daemon also `fd://`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::ClientError;

/// The port of TCP without TLS, unless an address names one.
const PLAIN_PORT: u16 = 2375;
/// The port of TCP with TLS, unless an address names one.
const TLS_PORT: u16 = 2376;

/// A daemon's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket, by its absolute path.
    Unix(PathBuf),
    /// TCP.
    Tcp(TcpAddress),
    /// The machine to log in to over SSH, where the daemon's socket is.
    Ssh(SshAddress),
    /// Every socket that the service manager made. For the daemon alone.
    Inherited,
}

/// A host and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpAddress {
    /// The host's name or address; an IPv6 address without its brackets.
    pub host: String,
    /// The port, where one is named.
    pub port: Option<u16>,
}

impl TcpAddress {
    /// Host and port as they are connected to or listened on.
    pub fn authority(&self, tls: bool) -> String {
        let port = self.port.unwrap_or(if tls { TLS_PORT } else { PLAIN_PORT });
        if self.host.contains(':') { format!("[{}]:{port}", self.host) } else { format!("{}:{port}", self.host) }
    }
}

/// Where SSH logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAddress {
    /// As whom, unless SSH's configuration says.
    pub user: Option<String>,
    /// The host, or what SSH's configuration calls it.
    pub host: String,
    /// The port, unless SSH's configuration says.
    pub port: Option<u16>,
    /// The daemon's socket there, unless it is the default one.
    pub socket: Option<PathBuf>,
}

impl FromStr for Address {
    type Err = ClientError;

    fn from_str(address: &str) -> Result<Address, ClientError> {
        let unusable = |reason| ClientError::Address { address: address.to_owned(), reason };
        match address.split_once("://") {
            Some(("unix", path)) if Path::new(path).is_absolute() => Ok(Address::Unix(PathBuf::from(path))),
            Some(("unix", _)) => Err(unusable("the path must be absolute, as in unix:///run/corten/corten.sock")),
            Some(("tcp", rest)) => tcp(rest).map(Address::Tcp).map_err(unusable),
            Some(("ssh", rest)) => ssh(rest).map(Address::Ssh).map_err(unusable),
            Some(("fd", "" | "*")) => Ok(Address::Inherited),
            Some(("fd", _)) => Err(unusable("single sockets of a service manager cannot be named: fd:// means all")),
            Some(("npipe", _)) => Err(unusable("named pipes are Windows'")),
            Some(("http" | "https", _)) => Err(unusable("TCP is written tcp://HOST:PORT, with or without TLS")),
            _ => Err(unusable("an address looks like unix:///run/corten/corten.sock, tcp://HOST:PORT or ssh://HOST")),
        }
    }
}

fn tcp(rest: &str) -> Result<TcpAddress, &'static str> {
    let (host, port) = host_and_port(rest.strip_suffix('/').unwrap_or(rest))?;
    Ok(TcpAddress { host: if host.is_empty() { "127.0.0.1".to_owned() } else { host }, port })
}

fn ssh(rest: &str) -> Result<SshAddress, &'static str> {
    let (authority, socket) = match rest.split_once('/') {
        None | Some((_, "")) => (rest.trim_end_matches('/'), None),
        Some((authority, path)) => (authority, Some(PathBuf::from(format!("/{path}")))),
    };
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            return Err("a password has no place in an address: SSH asks or has a key");
        }
        Some((user, place)) => (Some(user.to_owned()), place),
        None => (None, authority),
    };
    let (host, port) = host_and_port(place)?;
    // They become arguments of ssh: none may look like a flag of its own.
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('-') && !name.contains(char::is_control);
    if !is_name(&host) || user.as_deref().is_some_and(|user| !is_name(user)) {
        return Err("ssh:// is followed by [USER@]HOST[:PORT]");
    }
    Ok(SshAddress { user, host, port, socket })
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let number = |port: &str| port.parse().map_err(|_| "the port is no number from 0 to 65535");
    if let Some(rest) = text.strip_prefix('[') {
        let (host, behind) = rest.split_once(']').ok_or("an IPv6 address ends with ]")?;
        return match behind.strip_prefix(':') {
            Some(port) => Ok((host.to_owned(), Some(number(port)?))),
            None if behind.is_empty() => Ok((host.to_owned(), None)),
            None => Err("behind an IPv6 address only a port may follow"),
        };
    }
    let (host, port) = match text.split_once(':') {
        None => (text, None),
        Some((_, port)) if port.contains(':') => return Err("an IPv6 address stands in brackets"),
        Some((host, port)) => (host, Some(number(port)?)),
    };
    if host.contains(['/', '?', '#', ' ', '@']) { Err("the host's name is none") } else { Ok((host.to_owned(), port)) }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(TcpAddress { host, port: None }) => write!(f, "tcp://{}", bracketed(host)),
            Address::Tcp(TcpAddress { host, port: Some(port) }) => write!(f, "tcp://{}:{port}", bracketed(host)),
            Address::Inherited => f.write_str("fd://"),
            Address::Ssh(SshAddress { user, host, port, socket }) => {
                f.write_str("ssh://")?;
                user.as_deref().map_or(Ok(()), |user| write!(f, "{user}@"))?;
                f.write_str(&bracketed(host))?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
                socket.as_ref().map_or(Ok(()), |socket| write!(f, "{}", socket.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for address in [
            "unix:///run/corten.sock",
            "tcp://10.0.0.1:2376",
            "tcp://example.org",
            "tcp://[::1]:9",
            "ssh://host",
            "ssh://me@host:2222",
            "ssh://me@host/run/other.sock",
            "fd://",
        ] {
            assert_eq!(address.parse::<Address>().unwrap().to_string(), address);
        }
        assert_eq!("tcp://:2375".parse::<Address>().unwrap().to_string(), "tcp://127.0.0.1:2375");
        assert_eq!("ssh://host/".parse::<Address>().unwrap().to_string(), "ssh://host");
    }

    #[test]
    fn the_port_is_dockers_unless_it_is_named() {
        let Address::Tcp(address) = "tcp://[::1]".parse().unwrap() else { panic!("it is TCP") };
        assert_eq!((address.authority(false), address.authority(true)), ("[::1]:2375".into(), "[::1]:2376".into()));
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused() {
        for address in [
            "",
            "/run/corten.sock",
            "unix://relative",
            "tcp://a:99999",
            "tcp://a:b:c",
            "tcp://a/b",
            "tcp://[::1",
            "http://a",
            "npipe:////./pipe/docker_engine",
            "fd://3",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-l@host",
            "ssh://me:secret@host",
        ] {
            assert!(address.parse::<Address>().is_err(), "{address}");
        }
    }
}
