// SPDX-License-Identifier: Apache-2.0
//! Who may do what, decided by a program outside: it is asked about every request before it is served, and about the answer
//! before it is given (Docker's authorization protocol: `AuthZPlugin.AuthZReq` and `AuthZPlugin.AuthZRes`, JSON over HTTP
//! on a unix socket).
//!
//! **Architecture Invariant:** it fails closed. A hook that does not answer, or not in time, or not what it should, has said no.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header::{CONTENT_TYPE, HOST, HeaderMap};
use axum::http::{Method, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use errors::{Classify, Kind};
use futures_util::StreamExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;

use super::peer::Peer;
use crate::error::ApiError;
use crate::extract::BODY_TIMEOUT;

/// How long a hook may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest body that is shown to a hook, in bytes; Docker's limit.
const LARGEST_SHOWN: usize = 1 << 20;
/// The largest answer of a hook, in bytes.
const LARGEST_ANSWER: usize = 1 << 20;
/// What Docker's plugins speak.
const PLUGIN_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// A program that decides, by its socket.
#[derive(Debug, Clone)]
pub struct AuthorizationHook {
    socket: PathBuf,
}

/// Why a hook gave no permission.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizationError {
    /// It said no.
    #[error("authorization denied by {}: {message}", hook.display())]
    Denied {
        /// Its socket.
        hook: PathBuf,
        /// What it said.
        message: String,
    },
    /// It said that it failed.
    #[error("the authorization hook {} failed: {message}", hook.display())]
    Failed {
        /// Its socket.
        hook: PathBuf,
        /// What it said.
        message: String,
    },
    /// It cannot be asked.
    #[error("the authorization hook {} cannot be asked", hook.display())]
    Unreachable {
        /// Its socket.
        hook: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It gives no answer that is understood.
    #[error("the authorization hook {} gives no answer that is understood: {problem}", hook.display())]
    Malformed {
        /// Its socket.
        hook: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A body that no hook could see whole.
    #[error("the request's body is larger than what an authorization hook is shown ({LARGEST_SHOWN} bytes)")]
    Large,
}

impl Classify for AuthorizationError {
    fn kind(&self) -> Kind {
        match self {
            AuthorizationError::Denied { .. } => Kind::PermissionDenied,
            AuthorizationError::Large => Kind::InvalidArgument,
            _ => Kind::Unavailable,
        }
    }
}

/// What a hook answers.
#[derive(Deserialize)]
struct Verdict {
    #[serde(rename = "Allow", default)]
    allow: bool,
    #[serde(rename = "Msg", default)]
    message: String,
    #[serde(rename = "Err", default)]
    error: String,
}

impl AuthorizationHook {
    /// The hook that listens on `socket`.
    pub fn new(socket: PathBuf) -> AuthorizationHook {
        AuthorizationHook { socket }
    }

    async fn ask(&self, question: &str, about: &Value) -> Result<(), AuthorizationError> {
        let answer = tokio::time::timeout(PATIENCE, exchange(&self.socket, question, about)).await;
        let unreachable = |source| AuthorizationError::Unreachable { hook: self.socket.clone(), source };
        let malformed = |problem| AuthorizationError::Malformed { hook: self.socket.clone(), problem };
        let (status, text) = answer.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
        if !status.is_success() {
            return Err(malformed(format!("it answers {status}")));
        }
        let verdict: Verdict = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if !verdict.error.is_empty() {
            return Err(AuthorizationError::Failed { hook: self.socket.clone(), message: verdict.error });
        }
        if !verdict.allow {
            return Err(AuthorizationError::Denied { hook: self.socket.clone(), message: verdict.message });
        }
        Ok(())
    }
}

async fn exchange(socket: &Path, question: &str, about: &Value) -> io::Result<(StatusCode, Bytes)> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    // Its error is the exchange's, and told there.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    let request = Request::post(format!("/{question}"))
        .header(HOST, "authorization")
        .header(CONTENT_TYPE, "application/json")
        .header("accept", PLUGIN_TYPE)
        .body(Body::from(about.to_string()))
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let text = axum::body::to_bytes(Body::new(response.into_body()), LARGEST_ANSWER).await.map_err(io::Error::other);
    driver.abort();
    Ok((status, text?))
}

/// Asks all of `hooks` about `request`. Gives the request to be served, and what was said of it.
pub(super) async fn before(
    hooks: &[AuthorizationHook],
    peer: &Peer,
    path: &str,
    request: Request<Body>,
) -> Result<(Request<Body>, Value), ApiError> {
    let (parts, body) = request.into_parts();
    let (shown, body) = if is_stream(&parts.method, path) { (None, body) } else { whole(body).await? };
    let mut about = json!({
        "User": peer.user.as_deref().unwrap_or_default(),
        "UserAuthNMethod": if peer.certificates.is_empty() { "" } else { "TLS" },
        "RequestMethod": parts.method.as_str(),
        "RequestURI": parts.uri.path_and_query().map_or("/", |path| path.as_str()),
        "RequestHeaders": headers(&parts.headers),
    });
    // A password is nobody's but the registry's.
    if let Some(shown) = shown.filter(|shown| !shown.is_empty() && path != "/auth") {
        about["RequestBody"] = BASE64.encode(shown).into();
    }
    if !peer.certificates.is_empty() {
        about["RequestPeerCertificates"] =
            peer.certificates.iter().map(|certificate| BASE64.encode(pem(certificate))).collect();
    }
    for hook in hooks {
        hook.ask("AuthZPlugin.AuthZReq", &about).await?;
    }
    Ok((Request::from_parts(parts, body), about))
}

/// Asks all of `hooks` about the answer to what `about` describes, the last first. An answer that streams is judged by its
/// head: its body is still to come.
pub(super) async fn after(hooks: &[AuthorizationHook], mut about: Value, response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let is_small = body.size_hint().exact().is_some_and(|length| length <= LARGEST_SHOWN as u64);
    let (shown, body) = if is_small && parts.status != StatusCode::SWITCHING_PROTOCOLS {
        match axum::body::to_bytes(body, LARGEST_SHOWN).await {
            Ok(bytes) => (Some(bytes.clone()), Body::from(bytes)),
            Err(error) => return ApiError::Broken(error).into_response(),
        }
    } else {
        (None, body)
    };
    about["ResponseStatusCode"] = parts.status.as_u16().into();
    about["ResponseHeaders"] = headers(&parts.headers).into();
    if let Some(shown) = shown.filter(|shown| !shown.is_empty()) {
        about["ResponseBody"] = BASE64.encode(shown).into();
    }
    for hook in hooks.iter().rev() {
        if let Err(error) = hook.ask("AuthZPlugin.AuthZRes", &about).await {
            return ApiError::from(error).into_response();
        }
    }
    Response::from_parts(parts, body)
}

/// Whether a request brings an archive, which is neither shown nor waited for. `path` is free of the API's version.
fn is_stream(method: &Method, path: &str) -> bool {
    let is_archive = path.starts_with("/containers/") && path.ends_with("/archive");
    match *method {
        Method::POST => matches!(path, "/images/load" | "/images/create" | "/build" | "/session"),
        Method::PUT => is_archive,
        _ => false,
    }
}

/// All of a body, twice. One that is too large is refused: what a hook has not seen it has not allowed.
async fn whole(body: Body) -> Result<(Option<Bytes>, Body), ApiError> {
    let mut stream = body.into_data_stream();
    let mut read = Vec::new();
    let all = async {
        while let Some(piece) = stream.next().await {
            read.extend_from_slice(&piece.map_err(ApiError::Broken)?);
            if read.len() > LARGEST_SHOWN {
                return Err(ApiError::Authorization(AuthorizationError::Large));
            }
        }
        Ok(())
    };
    tokio::time::timeout(BODY_TIMEOUT, all).await.map_err(|_| ApiError::SlowBody)??;
    let bytes = Bytes::from(read);
    Ok((Some(bytes.clone()), Body::from(bytes)))
}

/// Headers as a hook sees them: without those that carry registries' passwords.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let shown = headers.iter().filter(|(name, _)| !name.as_str().starts_with("x-registry-"));
    shown.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())).collect()
}

fn pem(certificate: &[u8]) -> String {
    let text = BASE64.encode(certificate);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_archives_pass_unseen() {
        for (method, path) in [
            (Method::POST, "/images/load"),
            (Method::POST, "/images/create"),
            (Method::POST, "/build"),
            (Method::PUT, "/containers/a/archive"),
        ] {
            assert!(is_stream(&method, path), "{path}");
        }
        for (method, path) in [
            (Method::POST, "/containers/create"),
            (Method::POST, "/containers/x/archive"),
            (Method::POST, "/containers/images/load"),
            (Method::GET, "/images/load"),
            (Method::POST, "/corten/v1/run"),
        ] {
            assert!(!is_stream(&method, path), "{path}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let mut all = HeaderMap::new();
        all.insert("x-registry-auth", "secret".parse().unwrap());
        all.insert("x-registry-config", "secret".parse().unwrap());
        all.insert("user-agent", "test".parse().unwrap());
        assert_eq!(Value::from(headers(&all)), json!({"user-agent": "test"}));
    }
}
