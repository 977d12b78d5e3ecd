// SPDX-License-Identifier: Apache-2.0
//! What is told of the host's system and of this process. None of it decides anything: what cannot be read is not told.

use std::fs;

/// The host's system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// What it calls itself, as `Debian GNU/Linux 13 (trixie)`.
    pub name: String,
    /// Its version; empty for one that has none.
    pub version: String,
}

impl System {
    /// By os-release(5): a file of `/etc` goes before the one of `/usr/lib`.
    pub(super) fn of_host() -> System {
        let text = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| fs::read_to_string(path).ok());
        System::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> System {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
        };
        System {
            name: value("PRETTY_NAME").filter(|name| !name.is_empty()).unwrap_or_else(|| "Linux".to_owned()),
            version: value("VERSION_ID").unwrap_or_default(),
        }
    }
}

/// Whether the host hands on packets between its interfaces; without it no container reaches further than its bridge.
pub(super) fn forwards() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1")
}

/// How many descriptors this process has open.
pub(super) fn open_descriptors() -> usize {
    // The one by which they are counted is not one of them.
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
}

/// By which proxies registries are reached, as the environment says it, without passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyNames {
    /// For `http`.
    pub http: String,
    /// For `https`.
    pub https: String,
    /// What is reached without one.
    pub none: String,
}

impl ProxyNames {
    pub(super) fn of_environment() -> ProxyNames {
        let variable = |names: [&str; 2]| {
            names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty())).unwrap_or_default()
        };
        ProxyNames {
            http: without_password(&variable(["HTTP_PROXY", "http_proxy"])),
            https: without_password(&variable(["HTTPS_PROXY", "https_proxy"])),
            none: variable(["NO_PROXY", "no_proxy"]),
        }
    }
}

/// The address of a proxy, whose user and password are nobody's business.
fn without_password(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    // A password may have an `@` itself, and what is behind the host has none that matters.
    let Some((_, host)) = rest.rsplit_once('@') else { return address.to_owned() };
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}xxxxx:xxxxx@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_says_what_it_is_called() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\n";
        let debian = System { name: "Debian GNU/Linux 13 (trixie)".into(), version: "13".into() };
        assert_eq!(System::parse(text), debian);
        assert_eq!(
            System::parse("ID=arch\nPRETTY_NAME='Arch Linux'"),
            System { name: "Arch Linux".into(), version: String::new() }
        );
        assert_eq!(System::parse("").name, "Linux");
    }

    #[test]
    fn a_proxys_password_is_not_told() {
        assert_eq!(without_password("http://me:p@ss@proxy.example:3128/"), "http://xxxxx:xxxxx@proxy.example:3128/");
        assert_eq!(without_password("me:secret@proxy:3128"), "xxxxx:xxxxx@proxy:3128");
        assert_eq!(without_password("http://proxy:3128"), "http://proxy:3128");
        assert_eq!(without_password(""), "");
    }
}
