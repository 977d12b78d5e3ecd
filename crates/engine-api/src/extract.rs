// SPDX-License-Identifier: Apache-2.0
//! What handlers take out of a request: JSON bodies and query parameters, as Docker's clients write them.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The largest JSON body, in bytes: a container's configuration with a large seccomp profile is a hundredth of it.
pub(crate) const BODY_LIMIT: usize = 8 << 20;
/// How long it may take to come. A connection that stalls is not kept for ever.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A JSON body. Its content type is not looked at: not every client sets it.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, ApiError> {
        let bytes = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state));
        let bytes = bytes.await.map_err(|_| ApiError::SlowBody)?.map_err(ApiError::Unreadable)?;
        serde_json::from_slice(&bytes).map(Body).map_err(ApiError::Body)
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// The same of a body whose request was taken apart.
    pub(crate) async fn from_parts(body: axum::body::Body) -> Result<Body<T>, ApiError> {
        let bytes = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_LIMIT));
        let bytes = bytes.await.map_err(|_| ApiError::SlowBody)?.map_err(ApiError::Broken)?;
        serde_json::from_slice(&bytes).map(Body).map_err(ApiError::Body)
    }
}

/// The query's parameters, in order.
#[derive(Debug)]
pub(crate) struct Parameters(pub(crate) Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Parameters, ApiError> {
        Query::try_from_uri(&parts.uri).map(|Query(list)| Parameters(list)).map_err(ApiError::Query)
    }
}

impl Parameters {
    /// The first value of `name`, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether `name` is set to something that means yes; what means no is Docker's list.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let value = self.get(name).map(|value| value.trim().to_ascii_lowercase());
        !matches!(value.as_deref(), None | Some("" | "0" | "no" | "false" | "none"))
    }

    /// The number that `name` is set to.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, ApiError> {
        let value = self.get(name);
        value
            .map(|text| {
                text.parse().map_err(|_| ApiError::invalid(name, format!("\"{text}\" is not a number that fits")))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(list: &[(&str, &str)]) -> Parameters {
        Parameters(list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn no_has_many_spellings() {
        let parameters = parameters(&[("a", "1"), ("b", "False"), ("c", ""), ("d", "none"), ("e", "true"), ("f", "0")]);
        let set: Vec<&str> = ["a", "b", "c", "d", "e", "f", "g"].into_iter().filter(|n| parameters.flag(n)).collect();
        assert_eq!(set, ["a", "e"]);
    }

    #[test]
    fn numbers_are_numbers() {
        let parameters = parameters(&[("t", "5"), ("h", "99999"), ("x", "five")]);
        assert_eq!(parameters.number::<i64>("t").unwrap(), Some(5));
        assert_eq!(parameters.number::<i64>("none").unwrap(), None);
        assert!(parameters.number::<u16>("h").is_err());
        assert!(parameters.number::<u16>("x").is_err());
    }
}
