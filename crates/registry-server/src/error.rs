// SPDX-License-Identifier: Apache-2.0
//! The one place where a failed request becomes an answer: a status, a code of the specification's table
//! (distribution-spec, "Error Codes") and words for whoever reads them.

use bytes::Bytes;
use errors::{Classify as _, Kind, chain};
use http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Response, StatusCode};
use oci::{Digest, DigestError, ReferenceError};
use serde_json::json;

use crate::auth::Refused;
use crate::http::Body;
use crate::manifest::{MAX_MANIFEST, ManifestError};
use crate::mirror::UpstreamError;
use crate::storage::{PutError, StorageError, UploadError};

/// Seconds after which a client may try again when there is too much to do.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");
/// Missing references that are named in one answer.
const MOST_NAMED: usize = 100;

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("the repository does not have the blob {0}")]
    BlobUnknown(Digest),
    #[error("there is no such upload to this repository: begin another with POST")]
    UploadUnknown,
    #[error("{0}")]
    UploadInvalid(&'static str),
    #[error("the next bytes of this upload begin at {expected}")]
    UploadOrder {
        /// Where the next chunk must begin.
        expected: u64,
    },
    #[error("no digest is given: PUT with ?digest=sha256:...")]
    DigestMissing,
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error("the content has another digest than {expected}")]
    DigestMismatch { expected: Digest },
    #[error("the repository does not have the manifest {0}")]
    ManifestUnknown(String),
    #[error("the manifest cannot be taken")]
    Manifest(#[source] ManifestError),
    #[error("the manifest cannot be taken: the repository does not have all that it refers to; push that first")]
    Missing(Vec<Digest>),
    #[error("{0}")]
    Size(String),
    #[error("a manifest has at most {MAX_MANIFEST} bytes")]
    ManifestTooLarge,
    #[error(transparent)]
    Name(ReferenceError),
    #[error(transparent)]
    Tag(ReferenceError),
    #[error("there is no repository {0}")]
    NameUnknown(String),
    #[error("the range is not within the {size} bytes that there are")]
    Range { size: u64 },
    #[error("the query's {name} is not understood")]
    Query { name: &'static str },
    #[error("{method} is not possible here")]
    Method { method: Method, allow: &'static str },
    #[error("there is no such address")]
    NoRoute,
    #[error("say who you are")]
    Unauthorized {
        /// The value of `WWW-Authenticate`.
        challenge: String,
    },
    #[error("you may not do that")]
    Denied,
    #[error("this registry is read-only")]
    ReadOnly,
    #[error("the registry has too much to do now")]
    TooMany(#[source] UploadError),
    #[error("the registry has too many large manifests to read now")]
    NoRoom,
    #[error("another request is writing to this upload")]
    Busy,
    #[error("nothing more came of the request")]
    Silent,
    #[error("the request broke off")]
    Broken(#[source] hyper::Error),
    #[error("the registry cannot do that now")]
    Storage(#[source] StorageError),
    #[error(transparent)]
    Upstream(UpstreamError),
    #[error("the registry cannot do that now")]
    Worker,
}

/// The code that a client acts on, and the status.
fn code(error: &ApiError) -> (StatusCode, &'static str) {
    match error {
        ApiError::BlobUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        ApiError::UploadUnknown => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
        ApiError::UploadInvalid(_) | ApiError::Broken(_) => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
        ApiError::UploadOrder { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
        ApiError::Busy => (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID"),
        ApiError::Silent => (StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID"),
        ApiError::DigestMissing | ApiError::Digest(_) | ApiError::DigestMismatch { .. } => {
            (StatusCode::BAD_REQUEST, "DIGEST_INVALID")
        }
        ApiError::ManifestUnknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        ApiError::Manifest(ManifestError::Schema1(_)) => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
        ApiError::Manifest(_) | ApiError::Tag(_) => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
        ApiError::Missing(_) => (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
        ApiError::Size(_) => (StatusCode::BAD_REQUEST, "SIZE_INVALID"),
        ApiError::ManifestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
        ApiError::Name(_) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
        ApiError::NameUnknown(_) => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
        ApiError::Range { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID"),
        ApiError::Query { .. } => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
        ApiError::Method { .. } | ApiError::ReadOnly => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
        ApiError::Unauthorized { .. } => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
        ApiError::Denied => (StatusCode::FORBIDDEN, "DENIED"),
        ApiError::NoRoute => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
        ApiError::TooMany(_) | ApiError::NoRoom => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        ApiError::Storage(error) if error.kind() == Kind::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "UNSUPPORTED"),
        ApiError::Upstream(_) => (StatusCode::BAD_GATEWAY, "UNSUPPORTED"),
        ApiError::Storage(_) | ApiError::Worker => (StatusCode::INTERNAL_SERVER_ERROR, "UNSUPPORTED"),
    }
}

impl ApiError {
    /// The answer. What is the registry's own fault is logged in full; the client is not told about its files.
    pub(crate) fn into_response(self) -> Response<Body> {
        let (status, code) = code(&self);
        let message = match &self {
            ApiError::Storage(_) | ApiError::Upstream(_) | ApiError::Worker => {
                tracing::error!(error = chain(&self), "a request failed");
                self.to_string()
            }
            error => chain(error),
        };
        let errors = match &self {
            ApiError::Missing(digests) => {
                let named = digests.iter().take(MOST_NAMED);
                named.map(|d| json!({"code": code, "message": message, "detail": {"digest": d}})).collect()
            }
            _ => vec![json!({"code": code, "message": message})],
        };
        let body = Bytes::from(json!({ "errors": errors }).to_string());
        let mut response = Response::new(Body::from(body.clone()));
        *response.status_mut() = status;
        self.add_headers(response.headers_mut());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        response
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            ApiError::Method { allow, .. } => drop(headers.insert(ALLOW, HeaderValue::from_static(allow))),
            ApiError::Unauthorized { challenge } => {
                // What a challenge is made of was checked when the registry was set up.
                drop(HeaderValue::from_str(challenge).map(|value| headers.insert(WWW_AUTHENTICATE, value)));
            }
            ApiError::TooMany(_) | ApiError::NoRoom | ApiError::Busy => {
                drop(headers.insert(RETRY_AFTER, RETRY_SECONDS))
            }
            ApiError::Range { size } => {
                // Digits are a header's value.
                let value = HeaderValue::try_from(format!("bytes */{size}"));
                drop(value.map(|value| headers.insert(CONTENT_RANGE, value)));
            }
            ApiError::UploadOrder { expected } => {
                let value = HeaderValue::try_from(crate::http::received(*expected));
                drop(value.map(|value| headers.insert(RANGE, value)));
            }
            _ => {}
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> ApiError {
        match refused {
            Refused::Unauthorized { challenge } => ApiError::Unauthorized { challenge },
            Refused::Denied => ApiError::Denied,
        }
    }
}

impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> ApiError {
        match error {
            UpstreamError::Storage(error) => error.into(),
            error => ApiError::Upstream(error),
        }
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> ApiError {
        match error {
            StorageError::Content(content::ContentError::Digest(mismatch)) => {
                ApiError::DigestMismatch { expected: mismatch.expected }
            }
            error => ApiError::Storage(error),
        }
    }
}

impl From<PutError> for ApiError {
    fn from(error: PutError) -> ApiError {
        match error {
            PutError::Missing(digests) => ApiError::Missing(digests),
            PutError::Size { .. } => ApiError::Size(error.to_string()),
            PutError::Storage(error) => error.into(),
        }
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> ApiError {
        match error {
            UploadError::Busy => ApiError::Busy,
            UploadError::Storage(error) => error.into(),
            error => ApiError::TooMany(error),
        }
    }
}
