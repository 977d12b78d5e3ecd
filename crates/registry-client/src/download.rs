// SPDX-License-Identifier: Apache-2.0
//! A file at a URL: no registry's, but had over the same connections, with the same trust, proxies and time limits. Nobody's
//! credentials are sent.

use bytes::Bytes;
use errors::{Classify, Kind};
use http::header::{CONTENT_LENGTH, LOCATION};
use http::{Method, StatusCode, Uri};
use hyper::body::Incoming;

use crate::ask::{Ask, Outgoing};
use crate::client::Client;
use crate::error::{Cause, RegistryError};
use crate::location;

/// Redirects followed before it is called a loop.
const MAX_REDIRECTS: usize = 10;

/// Why a file could not be had. Addresses are written without their queries, which may be as good as passwords.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// No address of a file.
    #[error("{0:?} is no http:// or https:// address without a user name")]
    Url(String),
    /// Nobody answers.
    #[error("cannot reach {url}")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Whoever answers is not to be trusted.
    #[error("cannot make a secure connection for {url}")]
    Tls {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The answer is no file.
    #[error("{url} is answered with {status}")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// A redirect that is not followed.
    #[error("{url} redirects to {location:?}, which is not followed: {why}")]
    Redirect {
        /// The address.
        url: String,
        /// Where to.
        location: String,
        /// Why not.
        why: &'static str,
    },
    /// The connection ended, or went silent, before all was there.
    #[error("the download of {url} broke off after {bytes} bytes")]
    Broken {
        /// The address.
        url: String,
        /// What had come.
        bytes: u64,
        /// Why.
        #[source]
        source: Box<RegistryError>,
    },
}

impl Classify for DownloadError {
    fn kind(&self) -> Kind {
        match self {
            DownloadError::Url(_) => Kind::InvalidArgument,
            DownloadError::Status { status: StatusCode::NOT_FOUND | StatusCode::GONE, .. } => Kind::NotFound,
            DownloadError::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
                Kind::PermissionDenied
            }
            DownloadError::Redirect { .. } => Kind::Corrupt,
            _ => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            DownloadError::Unreachable { .. } => "check the address, and that this host may reach it",
            DownloadError::Status { status, .. } if status.is_client_error() => {
                "check the address; for a file that wants a login, download it and give it as a file"
            }
            DownloadError::Status { .. } | DownloadError::Broken { .. } => "try again",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// A file that is on its way.
pub struct Download {
    client: Client,
    uri: Uri,
    body: Incoming,
    length: Option<u64>,
    given: u64,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Download({}, {} bytes so far)", shown(&self.uri), self.given)
    }
}

impl Client {
    /// The file at `url`. Redirects are followed, but not from `https` to `http`.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub async fn download(&self, url: &str) -> Result<Download, DownloadError> {
        let bad = || DownloadError::Url(url.split('?').next().unwrap_or(url).chars().take(300).collect());
        let parsed: Uri = url.parse().map_err(|_| bad())?;
        // It is its own base: then it is checked as what it redirects to is.
        let mut uri = parsed.scheme().and_then(|_| location::resolve(&parsed, url)).ok_or_else(bad)?;
        for _ in 0..=MAX_REDIRECTS {
            let authority = uri.authority().map_or("", |authority| authority.as_str()).to_owned();
            let ask = Ask::pull(&authority, "", uri.path());
            let answer = self.transport().send(ask, &Outgoing::empty(Method::GET), &uri, None, None).await;
            let response = answer.map_err(|error| failed(&uri, 0, error))?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) {
                let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
                uri = redirected(&uri, location)?;
                continue;
            }
            if response.status() != StatusCode::OK {
                return Err(DownloadError::Status { url: shown(&uri), status: response.status() });
            }
            let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            return Ok(Download { client: self.clone(), uri, body: response.into_body(), length, given: 0 });
        }
        let why = "there were too many before";
        Err(DownloadError::Redirect { url: shown(&parsed), location: shown(&uri), why })
    }
}

fn redirected(uri: &Uri, location: String) -> Result<Uri, DownloadError> {
    let refused = |why| {
        let location = location.split('?').next().unwrap_or_default().chars().take(300).collect();
        Err(DownloadError::Redirect { url: shown(uri), location, why })
    };
    match location::resolve(uri, &location) {
        None => refused("it is no address of a file"),
        Some(next) if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") => {
            refused("it would give up the secure connection")
        }
        Some(next) => Ok(next),
    }
}

impl Download {
    /// Bytes in all, where that is known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The address that it comes from in the end, without its query.
    pub fn url(&self) -> String {
        shown(&self.uri)
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`DownloadError::Broken`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, DownloadError> {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let ask = Ask::pull(authority, "", self.uri.path());
        match self.client.transport().next_chunk(ask, &mut self.body).await {
            Ok(chunk) => {
                self.given += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
                Ok(chunk)
            }
            Err(error) => Err(failed(&self.uri, self.given, error)),
        }
    }
}

fn failed(uri: &Uri, bytes: u64, error: RegistryError) -> DownloadError {
    let url = shown(uri);
    match error {
        RegistryError::Unreachable { source, .. } => DownloadError::Unreachable { url, source },
        RegistryError::Tls { source, .. } => DownloadError::Tls { url, source },
        error => DownloadError::Broken { url, bytes, source: Box::new(error) },
    }
}

/// An address without its query.
fn shown(uri: &Uri) -> String {
    let text = uri.to_string();
    text.split('?').next().unwrap_or_default().chars().take(300).collect()
}
