// SPDX-License-Identifier: Apache-2.0
//! Routes that stop speaking HTTP: after `101 Switching Protocols` the connection belongs to a session.

use std::future::Future;
use std::io;

use api_types::PROTOCOL;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use crate::error::ApiError;

/// The connection of a request that asks to be taken over.
pub(crate) struct Hijack {
    upgrade: OnUpgrade,
    protocol: String,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Hijack {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Hijack, ApiError> {
        let protocol = protocol(&parts.headers).ok_or(ApiError::NoUpgrade)?;
        let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or(ApiError::NoUpgrade)?;
        Ok(Hijack { upgrade, protocol })
    }
}

/// What the client wants to switch to.
fn protocol(headers: &HeaderMap) -> Option<String> {
    let connection = headers.get(CONNECTION)?.to_str().ok()?;
    let asked = connection.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE)?.to_str().ok()?;
    asked.then(|| protocol.to_owned())
}

impl Hijack {
    /// The answer that hands the connection to `session`; Corten's own routes speak frames and nothing else.
    pub(crate) fn frames<F>(
        self,
        session: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
    ) -> Result<Response<Body>, ApiError>
    where
        F: Future<Output = io::Result<()>> + Send,
    {
        if self.protocol != PROTOCOL {
            return Err(ApiError::invalid("Upgrade", format!("this route speaks {PROTOCOL}")));
        }
        Ok(self.switch("application/vnd.corten.frames", session))
    }

    /// The answer that hands the connection to `session`, which speaks what `content_type` says.
    pub(crate) fn switch<F>(
        self,
        content_type: &'static str,
        session: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
    ) -> Response<Body>
    where
        F: Future<Output = io::Result<()>> + Send,
    {
        let Hijack { upgrade, protocol } = self;
        tokio::spawn(async move {
            let ended = match upgrade.await {
                Ok(connection) => session(TokioIo::new(connection)).await,
                Err(error) => Err(io::Error::other(error)),
            };
            // A client may leave whenever it likes.
            if let Err(error) = ended {
                tracing::debug!(%error, "a session's client is gone");
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Ok(protocol) = protocol.parse() {
            headers.insert(UPGRADE, protocol);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_must_be_asked_for_in_both_headers() {
        let headers = |list: &[(&'static str, &'static str)]| {
            list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
        };
        let asked = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "tcp")]);
        assert_eq!(protocol(&asked).as_deref(), Some("tcp"));
        assert_eq!(protocol(&headers(&[("upgrade", "tcp")])), None);
        assert_eq!(protocol(&headers(&[("connection", "Upgrade")])), None);
    }
}
