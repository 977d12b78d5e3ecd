// SPDX-License-Identifier: Apache-2.0
//! What a container is told of names: by the files of `/etc`, or by its name server. Pure: texts in, texts out.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::NetworkMode;
use crate::error::EngineError;

/// The longest name that DNS has (RFC 1035, section 2.3.4), in bytes.
const LONGEST_NAME: usize = 253;

/// What is wished of names, beside the networks'.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Naming {
    /// Name servers instead of the host's.
    pub servers: Vec<IpAddr>,
    /// Domains to look for names in, instead of the host's; a single `.` for none.
    pub search: Vec<String>,
    /// Options of the resolver instead of the host's: resolv.conf(5).
    pub options: Vec<String>,
    /// Lines for `/etc/hosts`.
    pub hosts: Vec<ExtraHost>,
}

/// A line for `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// What it means.
    pub address: HostAddress,
}

/// What a name in `/etc/hosts` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostAddress {
    /// This address.
    Is(IpAddr),
    /// Where the container reaches its host.
    Gateway,
}

impl Naming {
    /// Refuses what the files of `/etc` cannot say, and what does not go with the network.
    pub(crate) fn check(&self, network: &NetworkMode) -> Result<(), EngineError> {
        if matches!(network, NetworkMode::Container(_)) && *self != Naming::default() {
            let reason = "with --network container:NAME, names are what they are in that container";
            return Err(EngineError::invalid("--dns, --dns-search, --dns-option, --add-host", reason));
        }
        for domain in &self.search {
            is_word(domain).ok_or_else(|| EngineError::invalid("--dns-search", format!("{domain:?} is no domain")))?;
        }
        for option in &self.options {
            is_word(option).ok_or_else(|| EngineError::invalid("--dns-option", format!("{option:?} is no option")))?;
        }
        for host in &self.hosts {
            let name = &host.name;
            is_word(name).ok_or_else(|| EngineError::invalid("--add-host", format!("{name:?} is no host name")))?;
        }
        Ok(())
    }

    /// A resolv.conf as it would be without wishes, with them. Where the name server is the container's own, that one asks
    /// those that are wished for.
    pub(crate) fn resolv_conf(&self, text: &str, has_own_server: bool) -> String {
        let replaces_servers = !self.servers.is_empty() && !has_own_server;
        let is_replaced = |word: &str| match word {
            "nameserver" => replaces_servers,
            "search" | "domain" => !self.search.is_empty(),
            "options" => !self.options.is_empty(),
            _ => false,
        };
        let is_kept = |line: &&str| !line.split_whitespace().next().is_some_and(is_replaced);
        let mut written: String = text.split_inclusive('\n').filter(is_kept).collect();
        if replaces_servers {
            for server in &self.servers {
                // Writing to a String cannot fail, here and below.
                let _ = writeln!(written, "nameserver {server}");
            }
        }
        if !self.search.is_empty() && self.search != ["."] {
            let _ = writeln!(written, "search {}", self.search.join(" "));
        }
        if !self.options.is_empty() {
            let _ = writeln!(written, "options {}", self.options.join(" "));
            if has_own_server && !self.options.iter().any(|option| option.starts_with("ndots:")) {
                written.push_str("options ndots:0\n");
            }
        }
        written
    }

    /// The lines for `/etc/hosts`.
    ///
    /// # Errors
    /// One wants the host's address, and the container has no way to the host.
    pub(crate) fn hosts(&self, gateway: Option<Ipv4Addr>) -> Result<String, EngineError> {
        let mut lines = String::new();
        for ExtraHost { name, address } in &self.hosts {
            let address = match (address, gateway) {
                (HostAddress::Is(address), _) => *address,
                (HostAddress::Gateway, Some(gateway)) => gateway.into(),
                (HostAddress::Gateway, None) => {
                    let reason = format!("{name}:host-gateway: no network of the container leads to the host");
                    return Err(EngineError::invalid("--add-host", reason));
                }
            };
            let _ = writeln!(lines, "{address}\t{name}");
        }
        Ok(lines)
    }
}

/// One word that a line of these files may have.
fn is_word(text: &str) -> Option<()> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'#' && byte != b';';
    (!text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(allowed)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming() -> Naming {
        Naming {
            servers: vec![[10, 0, 0, 1].into()],
            search: vec!["a.b".into(), "c".into()],
            options: vec!["timeout:1".into()],
            hosts: vec![
                ExtraHost { name: "db".into(), address: HostAddress::Is([10, 1, 1, 1].into()) },
                ExtraHost { name: "up".into(), address: HostAddress::Gateway },
            ],
        }
    }

    #[test]
    fn wishes_replace_what_the_host_says() {
        let host = "# made by hand\nnameserver 192.0.2.1\nsearch lan\noptions edns0\n";
        assert_eq!(Naming::default().resolv_conf(host, false), host);
        assert_eq!(
            naming().resolv_conf(host, false),
            "# made by hand\nnameserver 10.0.0.1\nsearch a.b c\noptions timeout:1\n"
        );
        let own = "nameserver 127.0.0.11\nsearch lan\noptions edns0\noptions ndots:0\n";
        assert_eq!(
            naming().resolv_conf(own, true),
            "nameserver 127.0.0.11\nsearch a.b c\noptions timeout:1\noptions ndots:0\n"
        );
        let none = Naming { search: vec![".".into()], ..Naming::default() };
        assert_eq!(none.resolv_conf(host, false), "# made by hand\nnameserver 192.0.2.1\noptions edns0\n");
    }

    #[test]
    fn hosts_are_lines_and_the_gateway_must_be_there() {
        assert_eq!(naming().hosts(Some([10, 9, 0, 1].into())).unwrap(), "10.1.1.1\tdb\n10.9.0.1\tup\n");
        assert!(naming().hosts(None).unwrap_err().to_string().contains("up:host-gateway"));
    }

    #[test]
    fn what_would_be_another_line_is_refused() {
        let check = |change: fn(&mut Naming)| {
            let mut naming = naming();
            change(&mut naming);
            naming.check(&NetworkMode::Bridge).is_ok()
        };
        assert!(check(|_| {}));
        assert!(!check(|naming| naming.search[0] = "a\nnameserver 6.6.6.6".into()));
        assert!(!check(|naming| naming.options[0] = "ndots:1 x".into()));
        assert!(!check(|naming| naming.hosts[0].name = "a b".into()));
        assert!(!check(|naming| naming.hosts[0].name = String::new()));
        assert!(naming().check(&NetworkMode::Container("x".into())).is_err());
    }
}
