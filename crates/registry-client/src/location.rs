// SPDX-License-Identifier: Apache-2.0
//! Addresses: where a registry listens, where a redirect leads, and which of them are this machine.

use std::net::IpAddr;

use http::Uri;

/// The host name behind `docker.io`.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// The authority (host and perhaps port) that answers for `registry`.
pub(crate) fn authority_of(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER_HUB } else { registry }
}

/// Whether `authority` (host and perhaps port) is this machine, whatever the network does: `localhost`, `127.0.0.0/8`
/// or `::1`. Other names that resolve to a loopback address do not count.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = host_of(authority);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of `authority`, without port and brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// Whether both addresses are the same scheme, host and port: credentials for one may go to the other.
pub(crate) fn same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let scheme = uri.scheme_str().unwrap_or("https").to_owned();
        let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
        (scheme, uri.host().unwrap_or_default().to_ascii_lowercase(), port)
    };
    origin(a) == origin(b)
}

/// What `location` means in an answer to a request for `base` (RFC 3986, section 5; dot segments are left to the
/// server). `None` when it is no `http` or `https` address, or carries a user name.
pub(crate) fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let absolute = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    // A fragment is never sent.
    let uri: Uri = absolute.split('#').next()?.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    (known && !uri.authority()?.as_str().contains('@')).then_some(uri)
}

/// `text` as the value of a query's parameter.
pub(crate) fn query_escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            escaped.push(byte as char);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000", "[::1]"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["localhost.example", "10.0.0.1:5000", "128.0.0.1", "[::2]:5000", "127.0.0.1.example", ""] {
            assert!(!is_loopback(no), "{no}");
        }
    }

    #[test]
    fn redirects_resolve_against_the_request() {
        let base: Uri = "http://a:1/v2/x/blobs/d?q=1".parse().unwrap();
        for (location, expected) in [
            ("https://b/c?d#e", Some("https://b/c?d")),
            ("//b/c", Some("http://b/c")),
            ("/c", Some("http://a:1/c")),
            ("c", Some("http://a:1/v2/x/blobs/c")),
            ("?c", Some("http://a:1/v2/x/blobs/d?c")),
            ("file:///etc/passwd", None),
            ("https://user:pass@b/", None),
            ("ht tp://x", None),
        ] {
            assert_eq!(resolve(&base, location).map(|uri| uri.to_string()).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert!(same_origin(&uri("https://a/x"), &uri("https://A:443/y")));
        assert!(!same_origin(&uri("https://a/x"), &uri("http://a/x")));
        assert!(!same_origin(&uri("http://a:1/x"), &uri("http://a:2/x")));
        assert!(!same_origin(&uri("http://a/x"), &uri("http://b/x")));
    }

    #[test]
    fn a_query_cannot_be_broken_out_of() {
        assert_eq!(query_escape("repository:a/b:pull&x=y z"), "repository:a/b:pull%26x%3Dy%20z");
    }

    proptest::proptest! {
        #[test]
        fn any_location_resolves_or_is_refused(location in ".{0,100}") {
            let base: Uri = "http://a:1/v2/".parse().unwrap();
            let _ = resolve(&base, &location);
        }
    }
}
