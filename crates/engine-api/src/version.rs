// SPDX-License-Identifier: Apache-2.0
//! The API's version in the path: `/v1.41/containers/json` is `/containers/json`, asked for by a client of 1.41.

use api_types::{API_VERSION, MIN_API_VERSION};
use axum::extract::FromRequestParts;
use axum::http::header::SERVER;
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::error::ApiError;

/// The headers by which Docker's clients agree on a version.
const API_VERSION_HEADER: HeaderName = HeaderName::from_static("api-version");
const OS_TYPE_HEADER: HeaderName = HeaderName::from_static("ostype");
const EXPERIMENTAL_HEADER: HeaderName = HeaderName::from_static("docker-experimental");
/// What this server is.
const SERVER_NAME: &str = concat!("Corten/", env!("CARGO_PKG_VERSION"), " (linux)");

/// The version that a client speaks; the newest where it names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// The number behind the point: there is no other major version than 1.
    minor: u32,
    /// Whether the client has said it.
    is_named: bool,
}

impl Version {
    /// [`API_VERSION`], by its name.
    pub(crate) const NEWEST: Version = Version { minor: 55, is_named: true };
    /// What a client speaks that names no version: the newest, and it may have been written for an older one.
    pub(crate) const UNNAMED: Version = Version { is_named: false, ..Version::NEWEST };

    #[cfg(test)]
    pub(crate) fn of(minor: u32) -> Version {
        Version { minor, is_named: true }
    }

    /// Whether it is older than 1.`minor`.
    pub(crate) fn is_before(self, minor: u32) -> bool {
        self.minor < minor
    }

    /// Whether its answers have what 1.`minor` has dropped. To a client that names no version nothing is missing: it has
    /// not said that it can do without.
    pub(crate) fn has_what_went_with(self, minor: u32) -> bool {
        !self.is_named || self.is_before(minor)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Version {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Version, ApiError> {
        Ok(parts.extensions.get().copied().unwrap_or(Version::UNNAMED))
    }
}

/// The version that a request is of, and its address without it if it names one.
///
/// # Errors
/// A version that is not spoken, or that does not have this route yet.
pub(crate) fn strip(method: &Method, uri: &Uri) -> Result<(Version, Option<Uri>), ApiError> {
    let Some((version, rest)) = split(uri.path()) else { return Ok((Version::UNNAMED, None)) };
    let number = |text: &str| text.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
    let minor = match number(version) {
        Some(minor) if Some(minor) <= number(API_VERSION) => minor,
        _ => {
            return Err(ApiError::Version(format!(
                "client version {version} is too new. Maximum supported API version is {API_VERSION}"
            )));
        }
    };
    if Some(minor) < number(MIN_API_VERSION) {
        return Err(ApiError::Version(format!(
            "client version {version} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade \
             your client to a newer version"
        )));
    }
    if minor < introduced(method, rest) {
        return Err(ApiError::NoRoute(format!("{method} {}", uri.path())));
    }
    let path = match uri.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let path: PathAndQuery = path.parse().map_err(|_| ApiError::NoRoute(uri.path().to_owned()))?;
    Ok((Version { minor, is_named: true }, Some(Uri::from(path))))
}

/// The version that brought a route; 0 for those that all have.
fn introduced(method: &Method, path: &str) -> u32 {
    match path {
        "/build/prune" => 31,
        "/containers/prune" | "/images/prune" | "/networks/prune" | "/volumes/prune" => 25,
        _ if path.starts_with("/secrets") => 25,
        _ if path.starts_with("/plugins/") && path.ends_with("/upgrade") => 26,
        _ if path.starts_with("/configs") || path.starts_with("/distribution/") => 30,
        _ if path.starts_with("/volumes/") && method == Method::PUT => 42,
        _ if path.starts_with("/images/") && path.ends_with("/attestations") => 55,
        _ => 0,
    }
}

/// What every answer says of who answers.
pub(crate) fn sign(headers: &mut HeaderMap) {
    headers.insert(API_VERSION_HEADER, HeaderValue::from_static(API_VERSION));
    headers.insert(OS_TYPE_HEADER, HeaderValue::from_static("linux"));
    headers.insert(EXPERIMENTAL_HEADER, HeaderValue::from_static("false"));
    headers.insert(SERVER, HeaderValue::from_static(SERVER_NAME));
}

/// The version and the path behind it.
fn split(path: &str) -> Option<(&str, &str)> {
    let behind = path.strip_prefix("/v")?;
    let (version, rest) = behind.split_at(behind.find('/')?);
    let looks_like_one = version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.');
    looks_like_one.then_some((version, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(method: Method, path: &str) -> Result<(Version, Option<String>), ApiError> {
        strip(&method, &path.parse().unwrap()).map(|(version, uri)| (version, uri.map(|uri| uri.to_string())))
    }

    #[test]
    fn every_version_from_1_24_on_is_the_same_route() {
        for (version, minor) in [("1.24", 24), ("1.41", 41), (API_VERSION, Version::NEWEST.minor)] {
            let (of, path) = stripped(Method::GET, &format!("/v{version}/containers/json?all=1")).unwrap();
            assert_eq!((of.minor, path.as_deref()), (minor, Some("/containers/json?all=1")));
        }
        for path in ["/_ping", "/volumes", "/corten/v1/run"] {
            assert_eq!(stripped(Method::GET, path).unwrap(), (Version::UNNAMED, None));
        }
    }

    #[test]
    fn what_a_version_drops_stays_for_those_who_name_none() {
        assert!(Version::of(51).has_what_went_with(52) && !Version::of(52).has_what_went_with(52));
        assert!(Version::UNNAMED.has_what_went_with(52) && !Version::UNNAMED.is_before(55));
        assert_eq!(API_VERSION, format!("1.{}", Version::NEWEST.minor));
    }

    #[test]
    fn versions_that_are_not_spoken_are_refused() {
        for version in ["1.23", "1.999", "2.0", "1.x"] {
            let refused = stripped(Method::GET, &format!("/v{version}/info"));
            assert!(matches!(refused, Err(ApiError::Version(_))), "{version}");
        }
    }

    #[test]
    fn a_route_is_not_there_before_the_version_that_brought_it() {
        for (method, path, before) in [
            (Method::POST, "/images/prune", 25),
            (Method::GET, "/configs/x", 30),
            (Method::GET, "/distribution/a/b/json", 30),
            (Method::POST, "/build/prune", 31),
            (Method::PUT, "/volumes/x", 42),
            (Method::GET, "/images/a/b/attestations", 55),
        ] {
            let asked = |minor| stripped(method.clone(), &format!("/v1.{minor}{path}"));
            assert!(matches!(asked(before - 1), Err(ApiError::NoRoute(_))), "{path}");
            assert!(asked(before).is_ok(), "{path}");
        }
        assert!(stripped(Method::GET, "/v1.24/volumes/x").is_ok());
    }
}
