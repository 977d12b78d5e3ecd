// SPDX-License-Identifier: Apache-2.0
//! The API's version in the path: `/v1.41/containers/json` is `/containers/json`, asked for by a client of 1.41.

use api_types::{API_VERSION, MIN_API_VERSION};
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use crate::error::ApiError;

/// `uri` without the version in its path.
///
/// # Errors
/// A version that is not spoken.
pub(crate) fn strip(uri: &Uri) -> Result<Option<Uri>, ApiError> {
    let Some((version, rest)) = split(uri.path()) else { return Ok(None) };
    let number = |text: &str| text.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
    let minor = number(version);
    if minor.is_none() || minor > number(API_VERSION) {
        return Err(ApiError::Version(format!(
            "client version {version} is too new. Maximum supported API version is {API_VERSION}"
        )));
    }
    if minor < number(MIN_API_VERSION) {
        return Err(ApiError::Version(format!(
            "client version {version} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade \
             your client to a newer version"
        )));
    }
    let path = match uri.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let path: PathAndQuery = path.parse().map_err(|_| ApiError::NoRoute(uri.path().to_owned()))?;
    Ok(Some(Uri::from(path)))
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

    fn stripped(path: &str) -> Result<Option<String>, ApiError> {
        strip(&path.parse().unwrap()).map(|uri| uri.map(|uri| uri.to_string()))
    }

    #[test]
    fn every_version_from_1_24_on_is_the_same_route() {
        for version in ["1.24", "1.41", API_VERSION] {
            let path = stripped(&format!("/v{version}/containers/json?all=1")).unwrap();
            assert_eq!(path.as_deref(), Some("/containers/json?all=1"));
        }
        assert_eq!(stripped("/_ping").unwrap(), None);
        assert_eq!(stripped("/volumes").unwrap(), None);
        assert_eq!(stripped("/corten/v1/run").unwrap(), None);
    }

    #[test]
    fn versions_that_are_not_spoken_are_refused() {
        for version in ["1.23", "1.999", "2.0", "1.x"] {
            assert!(matches!(stripped(&format!("/v{version}/info")), Err(ApiError::Version(_))), "{version}");
        }
    }
}
