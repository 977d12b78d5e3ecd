// SPDX-License-Identifier: Apache-2.0
//! Proxies, as the environment names them: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` for what the first two do not name, and
//! `NO_PROXY`, in either case.
//!
//! `http://` (also where nothing is said) and `https://` are proxies that speak HTTP, over TLS or not; `socks5://` and
//! `socks5h://` speak SOCKS5, and names are looked up here for the first and by the proxy for the second. The ports are 80,
//! 443 and 1080 where none is said. Addresses of this machine are never asked for through a proxy.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Uri;
use http::header::HeaderValue;

use crate::location;
use crate::socks5::{self, Login};

/// Which proxy to use for which address.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<Exception>,
}

/// A proxy's address may have a password.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |proxy: &Option<Proxy>| proxy.as_ref().map(|proxy| proxy.address.to_string());
        f.debug_struct("Proxies")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("except", &self.except)
            .finish()
    }
}

/// One proxy. Those that speak HTTP, with and without TLS, and SOCKS5 are supported; another is an error when it is needed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Its address, without user and password.
    pub(crate) address: Uri,
    /// What one that speaks HTTP is told about who asks.
    pub(crate) authorization: Option<HeaderValue>,
    /// What one that speaks SOCKS5 is told about it. Such a one hands on all bytes, and is sent no headers of its own.
    pub(crate) login: Option<Login>,
}

/// What is asked for without a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    All,
    /// A domain and all below it, and perhaps one port.
    Domain(String, Option<u16>),
    /// Addresses whose first bits are these, and perhaps one port.
    Network(IpAddr, u8, Option<u16>),
}

impl Proxies {
    /// Those that `variable` names, which looks an environment variable up. What is no address of a proxy is left out.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Proxies {
        let value =
            |name: &str| variable(name).or_else(|| variable(&name.to_ascii_lowercase())).filter(|v| !v.is_empty());
        // In a CGI program `HTTP_PROXY` is what the client sent as `Proxy:` ("httpoxy").
        let http = if variable("REQUEST_METHOD").is_some() { variable("http_proxy") } else { value("HTTP_PROXY") };
        let all = || value("ALL_PROXY");
        Proxies {
            http: http.or_else(all).as_deref().and_then(parse_proxy),
            https: value("HTTPS_PROXY").or_else(all).as_deref().and_then(parse_proxy),
            except: value("NO_PROXY").unwrap_or_default().split([',', ' ']).filter_map(parse_exception).collect(),
        }
    }

    /// Those of this process's environment.
    pub fn of_environment() -> Proxies {
        Proxies::of(|name| std::env::var(name).ok())
    }

    /// The proxy to ask for `uri`.
    pub(crate) fn find(&self, uri: &Uri) -> Option<&Proxy> {
        let is_tls = uri.scheme_str() == Some("https");
        let proxy = if is_tls { &self.https } else { &self.http }.as_ref()?;
        let host = uri.host()?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let excepted = location::is_loopback(host) || self.except.iter().any(|exception| exception.covers(host, port));
        (!excepted).then_some(proxy)
    }
}

impl Exception {
    fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        let port_fits = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Exception::All => true,
            Exception::Domain(domain, wanted) => {
                let below =
                    host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                address.is_none() && below && port_fits(wanted)
            }
            Exception::Network(network, bits, wanted) => {
                address.is_some_and(|address| same_bits(address, *network, *bits)) && port_fits(wanted)
            }
        }
    }
}

fn same_bits(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let (a, b, width) = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    // The parser lets no more bits pass than an address has.
    (a ^ b).checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

fn parse_proxy(text: &str) -> Option<Proxy> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?.as_str();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let scheme = uri.scheme_str().filter(|_| !host.is_empty())?.to_ascii_lowercase();
    if scheme == "socks5" || scheme == "socks5h" {
        let login = user.map(|user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            Login { user: unescape(user), password: unescape(password) }
        });
        let port = if uri.port_u16().is_none() { format!(":{}", socks5::PORT) } else { String::new() };
        return Some(Proxy { address: format!("{scheme}://{host}{port}/").parse().ok()?, authorization: None, login });
    }
    let authorization = user.and_then(|user| {
        let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(unescape(user)))).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    Some(Proxy { address: format!("{scheme}://{host}/").parse().ok()?, authorization, login: None })
}

/// Undoes the percent-encoding of a user name and password.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits.filter(|_| byte == b'%') {
            Some(escaped) => {
                out.push(escaped);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn parse_exception(text: &str) -> Option<Exception> {
    let text = text.trim().to_ascii_lowercase();
    if text == "*" {
        return Some(Exception::All);
    }
    if let Some((network, bits)) = text.split_once('/') {
        let (network, bits) = (network.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
        let width = if network.is_ipv4() { 32 } else { 128 };
        return (bits <= width).then_some(Exception::Network(network, bits, None));
    }
    let single = |address: IpAddr, port| Exception::Network(address, if address.is_ipv4() { 32 } else { 128 }, port);
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Some(single(address, None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (text.as_str(), None),
    };
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Some(single(address, port));
    }
    let domain = host.trim_start_matches("*.").trim_start_matches('.');
    (!domain.is_empty()).then(|| Exception::Domain(domain.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::of(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_proxy_is_found_by_scheme_and_has_its_password_apart() {
        let found = proxies(&[("HTTPS_PROXY", "http://me:p%40ss@proxy.example:3128"), ("http_proxy", "10.0.0.1:8080")]);
        let of = |uri: &str| found.find(&uri.parse().unwrap()).cloned();
        let secure = of("https://registry.example/v2/").unwrap();
        assert_eq!(secure.address, "http://proxy.example:3128/");
        assert_eq!(secure.authorization.unwrap(), format!("Basic {}", BASE64.encode("me:p@ss")));
        assert_eq!(of("http://registry.example/").unwrap().address, "http://10.0.0.1:8080/");
        for local in ["https://localhost/", "https://127.0.0.1:5000/", "https://[::1]:5000/"] {
            assert!(of(local).is_none(), "{local}");
        }
        assert!(!format!("{found:?}").contains("p%40ss"));
        let other = proxies(&[("HTTPS_PROXY", "socks4://x:1")]).https.unwrap();
        assert_eq!(other.address, "socks4://x:1/", "to be refused when it is needed, not to be gone round");
        for bad in ["", "http://", "a b"] {
            assert!(proxies(&[("HTTPS_PROXY", bad)]).https.is_none(), "{bad:?}");
        }
        assert!(proxies(&[("HTTP_PROXY", "http://evil"), ("REQUEST_METHOD", "GET")]).http.is_none());
    }

    #[test]
    fn a_socks_proxy_has_its_port_and_its_password_without_a_header() {
        let found = proxies(&[("ALL_PROXY", "SOCKS5H://me:p%3Ass:x@proxy.example"), ("http_proxy", "10.0.0.1:8080")]);
        let of = |uri: &str| found.find(&uri.parse().unwrap()).cloned().unwrap();
        let socks = of("https://registry.example/v2/");
        assert_eq!(
            (socks.address.to_string(), socks.authorization),
            ("socks5h://proxy.example:1080/".to_owned(), None)
        );
        let login = socks.login.unwrap();
        assert_eq!((&login.user[..], &login.password[..]), (&b"me"[..], &b"p:ss:x"[..]));
        assert_eq!(of("http://registry.example/").address, "http://10.0.0.1:8080/", "the particular one goes first");
        assert!(!format!("{found:?}").contains("ss:x"));
        let found = proxies(&[("all_proxy", "socks5://[fd00::1]:99")]);
        for uri in ["http://registry.example/", "https://registry.example/"] {
            let socks = found.find(&uri.parse().unwrap()).unwrap();
            assert!(socks.address == "socks5://[fd00::1]:99/" && socks.login.is_none(), "{uri}");
        }
        assert!(found.find(&"http://127.0.0.1/".parse().unwrap()).is_none());
    }

    #[test]
    fn exceptions_are_domains_addresses_and_networks() {
        let list = "a.example, .b.example,*.c.example,d.example:5000,10.1.2.3,192.168.0.0/16,fd00::/8,bad/x,1.2.3.4/99";
        let found = proxies(&[("HTTPS_PROXY", "p:1"), ("no_proxy", list)]);
        let direct = |host: &str| found.find(&format!("https://{host}/").parse().unwrap()).is_none();
        for host in [
            "a.example",
            "x.A.example",
            "b.example",
            "x.b.example",
            "c.example",
            "d.example:5000",
            "10.1.2.3:5000",
            "192.168.7.7",
            "[fd12::1]:5000",
        ] {
            assert!(direct(host), "{host}");
        }
        for host in ["xa.example", "example", "d.example", "10.1.2.4", "192.169.0.1", "[fe80::1]", "1.2.3.4"] {
            assert!(!direct(host), "{host}");
        }
        let all = proxies(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "*")]);
        assert!(all.find(&"https://x.example/".parse().unwrap()).is_none());
    }
}
