// SPDX-License-Identifier: Apache-2.0
//! `/v2/<name>/manifests/<reference>`: reading, pushing and deleting manifests and tags.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use oci::{Digest, RepositoryName, Tag};

use super::answer;
use super::blocking;
use super::body::{Body, read_whole};
use super::query::Query;
use super::route::ManifestReference;
use crate::error::ApiError;
use crate::manifest::{MAX_MANIFEST, Pushed};
use crate::registry::Registry;
use crate::storage::StoredManifest;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Tags that may be given to one manifest at once.
const MOST_TAGS: usize = 32;

/// GET and HEAD.
pub(crate) async fn get(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    reference: &ManifestReference,
    request: &Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let manifest = find(registry, name, reference).await?;
    let mut response = if answer::is_known(request.headers(), &manifest.digest) {
        answer::bodiless(StatusCode::NOT_MODIFIED)
    } else {
        let is_head = request.method() == Method::HEAD;
        let body = if is_head { Body::empty() } else { Body::from(manifest.body.clone()) };
        let mut response = Response::new(body);
        answer::set(response.headers_mut(), CONTENT_TYPE, &manifest.media_type);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(manifest.body.len()));
        response
    };
    answer::name(response.headers_mut(), &manifest.digest);
    Ok(response)
}

async fn find(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    reference: &ManifestReference,
) -> Result<Arc<StoredManifest>, ApiError> {
    let storage = &registry.storage;
    // What is in memory is answered without leaving this thread.
    let digest = match reference {
        ManifestReference::Digest(digest) => Some(*digest),
        ManifestReference::Tag(tag) => storage.cached_tag(name, tag),
    };
    if let Some(manifest) = digest.and_then(|digest| storage.cached_manifest(name, &digest)) {
        return Ok(manifest);
    }
    let (storage, name, wanted) = (Arc::clone(storage), name.clone(), reference.clone());
    let found = blocking(move || {
        let digest = match &wanted {
            ManifestReference::Digest(digest) => Some(*digest),
            ManifestReference::Tag(tag) => storage.tag(&name, tag)?,
        };
        match digest {
            Some(digest) => storage.manifest(&name, &digest),
            None => Ok(None),
        }
    })
    .await?;
    found.ok_or_else(|| ApiError::ManifestUnknown(text_of(reference)))
}

/// PUT.
pub(crate) async fn put(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    reference: &ManifestReference,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let tags = tags_of(reference, query)?;
    let (head, mut body) = request.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let body = read_whole(&mut body, MAX_MANIFEST, registry).await?;
    let pushed = Pushed::read(content_type, body.ok_or(ApiError::ManifestTooLarge)?).map_err(ApiError::Manifest)?;
    if let ManifestReference::Digest(expected) = reference
        && *expected != pushed.digest
    {
        return Err(ApiError::DigestMismatch { expected: *expected });
    }
    let (digest, subject) = (pushed.digest, pushed.subject);
    let (storage, name_there, tags_there) = (Arc::clone(&registry.storage), name.clone(), tags.clone());
    blocking(move || storage.put_manifest(&name_there, &pushed, &tags_there, false)).await?;
    let mut response = answer::empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    answer::set(headers, LOCATION, &format!("/v2/{name}/manifests/{}", text_of(reference)));
    answer::set(headers, answer::CONTENT_DIGEST, &digest.to_string());
    if let Some(subject) = subject {
        answer::set(headers, OCI_SUBJECT, &subject.to_string());
    }
    if query.get("tag").is_some() {
        let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        answer::set(headers, OCI_TAG, &tags.join(", "));
    }
    Ok(response)
}

/// The tags that a push asks for: the one of its address or, beside a digest, those of the query.
fn tags_of(reference: &ManifestReference, query: &Query) -> Result<Vec<Tag>, ApiError> {
    match reference {
        ManifestReference::Tag(tag) => Ok(vec![tag.clone()]),
        ManifestReference::Digest(_) => {
            let tags: Vec<Tag> = query.all("tag").map(str::parse).collect::<Result<_, _>>().map_err(ApiError::Tag)?;
            if tags.len() > MOST_TAGS { Err(ApiError::Query { name: "tag" }) } else { Ok(tags) }
        }
    }
}

/// DELETE: of a tag only the tag, of a digest the manifest and all its tags.
pub(crate) async fn delete(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    reference: &ManifestReference,
) -> Result<Response<Body>, ApiError> {
    let (storage, name, which) = (Arc::clone(&registry.storage), name.clone(), reference.clone());
    let removed = blocking(move || match &which {
        ManifestReference::Digest(digest) => storage.delete_manifest(&name, digest),
        ManifestReference::Tag(tag) => storage.delete_tag(&name, tag),
    })
    .await?;
    if removed { Ok(answer::empty(StatusCode::ACCEPTED)) } else { Err(ApiError::ManifestUnknown(text_of(reference))) }
}

fn text_of(reference: &ManifestReference) -> String {
    match reference {
        ManifestReference::Digest(digest) => Digest::to_string(digest),
        ManifestReference::Tag(tag) => tag.to_string(),
    }
}
