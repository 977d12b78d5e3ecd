// SPDX-License-Identifier: Apache-2.0
//! What all answers have in common.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, Response, StatusCode};
use oci::Digest;

use super::body::Body;

/// The digest of what is answered or was stored.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// An answer without content.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// An answer without content, of a status that has no `Content-Length`.
pub(crate) fn bodiless(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer of JSON.
pub(crate) fn json(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = body.into();
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// The answer of a registry that is one (distribution-spec, "Determining Support").
pub(crate) fn support() -> Response<Body> {
    let mut response = json("application/json", "{}");
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// Sets a header whose value was made here of checked parts: names, digests, numbers.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // None of the parts has a character that a header may not have.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Names the content: by `Docker-Content-Digest` and, for conditional requests, by `ETag`.
pub(crate) fn name(headers: &mut HeaderMap, digest: &Digest) {
    let text = digest.to_string();
    set(headers, ETAG, &format!("\"{text}\""));
    set(headers, CONTENT_DIGEST, &text);
}

/// Whether the client has it already (RFC 9110, section 13.1.2).
pub(crate) fn is_known(headers: &HeaderMap, digest: &Digest) -> bool {
    let text = digest.to_string();
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == text)
}

/// Whether what the client has a part of is this: a part is added to no other content (RFC 9110, section 13.1.5). It has
/// no date to be told by.
pub(crate) fn is_same(headers: &HeaderMap, digest: &Digest) -> bool {
    headers.get(IF_RANGE).is_none_or(|tag| tag.as_bytes() == format!("\"{digest}\"").as_bytes())
}

/// What has come of an upload, as its `Range` header says it. Of nothing that form cannot speak: `0-0` is the custom.
pub(crate) fn received(bytes: u64) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}
