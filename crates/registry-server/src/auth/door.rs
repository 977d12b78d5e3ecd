// SPDX-License-Identifier: Apache-2.0
//! How a client came in, as it says and as proxies on its way say.
//!
//! Nothing here is proved, and nothing rests on it but what this client is told: whoever lies is sent to the wrong place.

use std::net::IpAddr;

use http::HeaderMap;

/// The longest host that a client is sent back to, in bytes (RFC 1035, with a port).
const MAX_HOST: usize = 261;
/// What only proxies add.
const OF_PROXIES: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// How a client came in.
#[derive(Debug)]
pub(crate) struct Door {
    /// Scheme and host: what it is told to ask must be where it can ask it.
    origin: Option<String>,
    /// Where it came from: the proxy before us, if there is one.
    client: IpAddr,
}

impl Door {
    /// By these headers, from that address. There is no origin where the host cannot be one.
    pub(crate) fn of(headers: &HeaderMap, is_tls: bool, client: IpAddr) -> Door {
        let is_host = |host: &&str| {
            !host.is_empty()
                && host.len() <= MAX_HOST
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
        };
        let scheme = if is_tls || is_https(headers) { "https" } else { "http" };
        let origin = text(headers, "host").filter(is_host).map(|host| format!("{scheme}://{host}"));
        Door { origin, client }
    }

    pub(super) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The host, with its port if it has one; empty where there is no origin.
    pub(super) fn host(&self) -> &str {
        self.origin().and_then(|origin| origin.split_once("://")).map_or("", |(_, host)| host)
    }

    pub(super) fn client(&self) -> IpAddr {
        self.client
    }
}

/// Whether a proxy took the request with TLS. The first one on the way is asked, which stands before the others. One that
/// does not say what it speaks is taken to speak TLS: where that is wrong a client finds nobody, and where the other was
/// wrong it would send its password for everybody to read.
fn is_https(headers: &HeaderMap) -> bool {
    let first = |value: &str| value.split(',').next().unwrap_or_default().trim().to_ascii_lowercase();
    if let Some(scheme) = text(headers, "x-forwarded-proto").map(first) {
        return scheme == "https";
    }
    // RFC 7239, section 5.4.
    let forwarded = text(headers, "forwarded").map(first).unwrap_or_default();
    let mut pairs = forwarded.split(';').filter_map(|pair| pair.split_once('='));
    match pairs.find(|(name, _)| name.trim() == "proto") {
        Some((_, scheme)) => scheme.trim().trim_matches('"') == "https",
        None => OF_PROXIES.iter().any(|name| headers.contains_key(*name)),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn origin(is_tls: bool, headers: &[(&str, &str)]) -> Option<String> {
        let all = headers
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()));
        Door::of(&all.collect(), is_tls, IpAddr::from([127, 0, 0, 1])).origin
    }

    #[test]
    fn a_client_is_sent_back_to_where_it_came_from() {
        let host = ("host", "registry.example:5000");
        assert_eq!(origin(false, &[host]).as_deref(), Some("http://registry.example:5000"));
        assert_eq!(origin(true, &[host]).as_deref(), Some("https://registry.example:5000"));
        assert_eq!(origin(true, &[]), None);
        for bad in ["", "a\"b", "a/b", "a b", "a@b", &"a".repeat(262)] {
            assert_eq!(origin(true, &[("host", bad)]), None, "{bad}");
        }
    }

    #[test]
    fn a_proxy_says_what_it_speaks_and_speaks_tls_when_it_does_not() {
        for (header, value, is_https) in [
            ("x-forwarded-proto", "https", true),
            ("x-forwarded-proto", "HTTPS, http", true),
            ("x-forwarded-proto", "http", false),
            ("x-forwarded-proto", "http, https", false),
            ("forwarded", "for=192.0.2.60;proto=https;by=203.0.113.43", true),
            ("forwarded", "for=192.0.2.60; Proto=\"https\", for=10.0.0.1;proto=http", true),
            ("forwarded", "for=192.0.2.60;proto=http", false),
            ("forwarded", "for=192.0.2.60", true),
            ("x-forwarded-for", "192.0.2.60", true),
            ("via", "1.1 front", true),
            ("accept", "*/*", false),
        ] {
            let origin = origin(false, &[("host", "x"), (header, value)]).unwrap();
            assert_eq!(origin == "https://x", is_https, "{header}: {value}");
        }
    }
}
