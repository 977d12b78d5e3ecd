// SPDX-License-Identifier: Apache-2.0
//! `/v2/<name>/blobs/<digest>`: reading and deleting blobs.

use std::sync::Arc;

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use oci::{Digest, RepositoryName};

use super::answer;
use super::body::{Body, FileBody};
use super::{blocking, range};
use crate::error::ApiError;
use crate::registry::Registry;

/// GET and HEAD.
pub(crate) async fn get(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    digest: &Digest,
    request: &Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let (storage, name, wanted) = (Arc::clone(&registry.storage), name.clone(), *digest);
    let is_head = request.method() == Method::HEAD;
    let (file, size) = if is_head {
        let size = blocking(move || storage.blob_size(&name, &wanted)).await?;
        (None, size.ok_or(ApiError::BlobUnknown(*digest))?)
    } else {
        let repository = name.clone();
        match blocking(move || storage.open_blob(&name, &wanted)).await? {
            Some((file, size)) => (Some(file), size),
            None => return from_upstream(registry, &repository, digest).await,
        }
    };
    if answer::is_known(request.headers(), digest) {
        let mut response = answer::bodiless(StatusCode::NOT_MODIFIED);
        answer::name(response.headers_mut(), digest);
        return Ok(response);
    }
    // Only GET has ranges (RFC 9110, section 14.2).
    let has_part = !is_head && answer::is_same(request.headers(), digest);
    let part = if has_part { range::wanted(request.headers(), size)? } else { None };
    let bytes = part.clone().unwrap_or(0..size);
    let length = bytes.end - bytes.start;
    let mut response = match file {
        Some(file) => Response::new(Body::File(FileBody::new(file, bytes.clone(), &registry.blocks))),
        None => Response::new(Body::empty()),
    };
    if part.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1);
        answer::set(response.headers_mut(), CONTENT_RANGE, &value);
    }
    let headers = response.headers_mut();
    answer::name(headers, digest);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// A blob that is not here: in a cache, of the registry behind it. Only what a manifest that is here refers to is asked
/// for; whole, whatever part of it is wanted.
async fn from_upstream(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response<Body>, ApiError> {
    let unknown = || ApiError::BlobUnknown(*digest);
    let mirror = registry.options.mirror.as_ref().ok_or_else(unknown)?;
    let (storage, repository, wanted) = (Arc::clone(&registry.storage), name.clone(), *digest);
    let size = blocking(move || storage.referred_size(&repository, &wanted)).await?.ok_or_else(unknown)?;
    let chunks = mirror.blob(registry, name, *digest, size).await?.ok_or_else(unknown)?;
    let mut response = Response::new(Body::Chunks { chunks, owed: size });
    let headers = response.headers_mut();
    answer::name(headers, digest);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    Ok(response)
}

/// DELETE: of this repository; the content goes when no repository has it any more.
pub(crate) async fn delete(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response<Body>, ApiError> {
    let (storage, name, wanted) = (Arc::clone(&registry.storage), name.clone(), *digest);
    if blocking(move || storage.delete_blob(&name, &wanted)).await? {
        Ok(answer::empty(StatusCode::ACCEPTED))
    } else {
        Err(ApiError::BlobUnknown(*digest))
    }
}
