// SPDX-License-Identifier: Apache-2.0
//! Where a log server is: `tcp://host:port` and its like.

use std::fmt;
use std::path::PathBuf;

/// An address of a log server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A stream over the network.
    Tcp { host: String, port: u16, tls: bool },
    /// Datagrams over the network.
    Udp { host: String, port: u16 },
    /// A socket of this host; `datagrams`: of that kind for certain.
    Unix { path: PathBuf, datagrams: bool },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port, tls } => write!(f, "{}://{host}:{port}", if *tls { "tcp+tls" } else { "tcp" }),
            Address::Udp { host, port } => write!(f, "udp://{host}:{port}"),
            Address::Unix { path, .. } => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Reads an address. `schemes`: those that the driver can use. Without a port, `port`.
pub(super) fn parse(text: &str, schemes: &[&str], port: Option<u16>) -> Result<Address, String> {
    let known = || format!("{text:?} is no address: write {}", schemes.join(", "));
    let (scheme, rest) = text.split_once("://").ok_or_else(known)?;
    if !schemes.iter().any(|known| known.split("://").next() == Some(scheme)) {
        return Err(known());
    }
    if matches!(scheme, "unix" | "unixgram") {
        let path = PathBuf::from(rest);
        // The kernel's limit for the name of a socket.
        return match path.is_absolute() && rest.len() < 108 {
            true => Ok(Address::Unix { path, datagrams: scheme == "unixgram" }),
            false => Err(format!("{text:?} has no absolute path of at most 107 bytes")),
        };
    }
    let rest = rest.trim_end_matches('/');
    let (host, number) = match rest.rsplit_once(':') {
        // The colons of an IPv6 address are inside its brackets.
        Some((host, number)) if !number.ends_with(']') => (host, Some(number)),
        _ => (rest, None),
    };
    let number = match number {
        Some(number) => number.parse().ok().filter(|number| *number != 0),
        None => port,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = number.ok_or_else(|| format!("{text:?} has no port"))?;
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(format!("{text:?} has no host"));
    }
    Ok(match scheme {
        "udp" => Address::Udp { host, port },
        _ => Address::Tcp { host, port, tls: scheme != "tcp" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_a_host_and_a_port() {
        const ALL: &[&str] = &["udp://HOST:PORT", "tcp://HOST:PORT", "tcp+tls://HOST:PORT", "unix:///PATH"];
        let tcp = |host: &str, port, tls| Address::Tcp { host: host.into(), port, tls };
        for (text, expected) in [
            ("tcp://h:1", tcp("h", 1, false)),
            ("tcp+tls://[::1]:6514", tcp("::1", 6514, true)),
            ("tcp://[::1]", tcp("::1", 514, false)),
            ("udp://h/", Address::Udp { host: "h".into(), port: 514 }),
            ("unix:///dev/log", Address::Unix { path: "/dev/log".into(), datagrams: false }),
        ] {
            assert_eq!(parse(text, ALL, Some(514)), Ok(expected), "{text}");
        }
        for text in [
            "h:1",
            "http://h:1",
            "tcp://:1",
            "tcp://h:0",
            "tcp://h:x",
            "unix://dev/log",
            "unixgram:///x",
            "tcp://a@b:1",
        ] {
            assert!(parse(text, ALL, Some(514)).is_err(), "{text}");
        }
        assert!(parse("tcp://h", ALL, None).is_err());
    }
}
