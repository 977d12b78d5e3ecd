// SPDX-License-Identifier: Apache-2.0
//! `/v2/<name>/manifests/<reference>`: reading, pushing and deleting manifests and tags.

use std::sync::Arc;

use errors::chain;
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
use crate::storage::{Origin, StorageError, StoredManifest, TagTarget};

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

/// The manifest, from here or, in a cache, from the registry behind it.
async fn find(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    reference: &ManifestReference,
) -> Result<Arc<StoredManifest>, ApiError> {
    let here = find_here(registry, name, reference).await?;
    let unknown = || ApiError::ManifestUnknown(text_of(reference));
    let Some(mirror) = &registry.options.mirror else {
        return here.map(|(manifest, _)| manifest).ok_or_else(unknown);
    };
    let is_good = match (&here, reference) {
        (None, _) => false,
        (Some(_), ManifestReference::Digest(_)) => true,
        (Some((_, origin)), ManifestReference::Tag(tag)) => *origin == Origin::Pushed || mirror.is_fresh(name, tag),
    };
    match here {
        Some((manifest, _)) if is_good => Ok(manifest),
        here => match (mirror.manifest(registry, name, reference).await, here) {
            (Ok(found), _) => found.ok_or_else(unknown),
            (Err(error), Some((manifest, _))) => {
                tracing::warn!(%name, error = chain(&error), "the kept manifest is given");
                Ok(manifest)
            }
            (Err(error), None) => Err(error.into()),
        },
    }
}

/// The manifest that is stored, and where its tag came from.
async fn find_here(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    reference: &ManifestReference,
) -> Result<Option<(Arc<StoredManifest>, Origin)>, ApiError> {
    let storage = &registry.storage;
    // What is in memory is answered without leaving this thread.
    let target = match reference {
        ManifestReference::Digest(digest) => Some(TagTarget { digest: *digest, origin: Origin::Pushed }),
        ManifestReference::Tag(tag) => storage.cached_tag(name, tag),
    };
    if let Some(target) = target
        && let Some(manifest) = storage.cached_manifest(name, &target.digest)
    {
        return Ok(Some((manifest, target.origin)));
    }
    let (storage, name, wanted) = (Arc::clone(storage), name.clone(), reference.clone());
    blocking(move || {
        let target = match (&wanted, target) {
            (ManifestReference::Tag(tag), None) => storage.tag(&name, tag)?,
            (_, target) => target,
        };
        let Some(target) = target else { return Ok::<_, StorageError>(None) };
        Ok(storage.manifest(&name, &target.digest)?.map(|manifest| (manifest, target.origin)))
    })
    .await
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
    let body = body.ok_or(ApiError::ManifestTooLarge)?;
    let bytes = body.bytes.clone();
    let expected = match reference {
        ManifestReference::Digest(digest) => Some(*digest),
        ManifestReference::Tag(_) => None,
    };
    let algorithm = expected.map(|digest| digest.algorithm()).unwrap_or_default();
    let pushed = Pushed::read(content_type, bytes, algorithm).map_err(ApiError::Manifest)?;
    if let Some(expected) = expected
        && expected != pushed.digest
    {
        return Err(ApiError::DigestMismatch { expected });
    }
    let (digest, subject) = (pushed.digest, pushed.subject);
    let (storage, name_there, tags_there) = (Arc::clone(&registry.storage), name.clone(), tags.clone());
    // Its room is free when it is stored, whether or not its client waits.
    blocking(move || {
        let _body = body;
        storage.put_manifest(&name_there, &pushed, &tags_there)
    })
    .await?;
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
