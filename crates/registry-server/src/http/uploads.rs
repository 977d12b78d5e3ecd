// SPDX-License-Identifier: Apache-2.0
//! `/v2/<name>/blobs/uploads/`: pushing blobs, whole or in chunks, and mounting them (distribution-spec, "Pushing blobs").

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, LOCATION, RANGE};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use hyper::body::Incoming;
use oci::{Algorithm, Digest, RepositoryName};

use super::body::{Body, next_block};
use super::query::Query;
use super::{answer, blocking, range};
use crate::auth::{Action, Caller};
use crate::error::ApiError;
use crate::registry::Registry;
use crate::storage::{Upload, UploadError, UploadId};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// How often and how long a request waits for the one before it, whose client may be gone without a word.
const PATIENCE: (u32, Duration) = (100, Duration::from_millis(50));

/// POST: a mount, a whole blob, or the begin of an upload.
pub(crate) async fn begin(
    registry: &Arc<Registry>,
    caller: &Caller<'_>,
    name: &RepositoryName,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let announced = query.get("digest-algorithm").map(str::parse::<Algorithm>).transpose()?;
    if let Some(digest) = query.get("mount") {
        let digest: Digest = digest.parse()?;
        if mount(registry, caller, name, &digest, query.get("from")).await? {
            return Ok(created(name, &digest));
        }
    }
    let digest = query.get("digest").map(str::parse::<Digest>).transpose()?;
    let (uploads, repository) = (registry.uploads.clone(), name.clone());
    let algorithm = digest.as_ref().map(Digest::algorithm).or(announced).unwrap_or_default();
    let mut upload = blocking(move || uploads.begin(&repository, algorithm)).await?;
    let Some(digest) = digest else {
        return Ok(accepted(name, &upload, StatusCode::ACCEPTED));
    };
    let (head, mut body) = request.into_parts();
    let received;
    (upload, received) = receive(registry, upload, &head.headers, &mut body).await;
    match received {
        Ok(()) => finished(registry, upload, digest).await,
        Err(error) => {
            // Its client does not know the id: nobody could go on with it.
            blocking(move || upload.cancel()).await?;
            Err(error)
        }
    }
}

async fn mount(
    registry: &Arc<Registry>,
    caller: &Caller<'_>,
    name: &RepositoryName,
    digest: &Digest,
    from: Option<&str>,
) -> Result<bool, ApiError> {
    let from = match from.filter(|from| !from.is_empty()).map(str::parse::<RepositoryName>) {
        Some(Ok(from)) => Some(from),
        // A repository that cannot be has no blobs: the client uploads.
        Some(Err(_)) => return Ok(false),
        None => None,
    };
    let (storage, name, digest) = (Arc::clone(&registry.storage), name.clone(), *digest);
    // What one may not read, one may not mount: it would be read from there.
    let sources: Vec<RepositoryName> = match from {
        Some(from) => vec![from],
        None => {
            let storage = Arc::clone(&storage);
            blocking(move || storage.repositories_with(&digest)).await?
        }
    };
    let Some(from) = sources.into_iter().find(|from| caller.may(from, Action::Pull)) else { return Ok(false) };
    blocking(move || storage.mount(&name, &digest, &from)).await
}

/// PATCH: the next bytes.
pub(crate) async fn patch(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    id: UploadId,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let upload = take(registry, name, id).await?;
    let (head, mut body) = request.into_parts();
    let (upload, received) = receive(registry, upload, &head.headers, &mut body).await;
    match received {
        Ok(()) => Ok(accepted(name, &upload, StatusCode::ACCEPTED)),
        Err(error) => Ok(refused(name, &upload, error)),
    }
}

/// PUT: the last bytes, if there are more, and the digest of all.
pub(crate) async fn finish(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    id: UploadId,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let digest: Digest = query.get("digest").ok_or(ApiError::DigestMissing)?.parse()?;
    let upload = take(registry, name, id).await?;
    let (head, mut body) = request.into_parts();
    let (upload, received) = receive(registry, upload, &head.headers, &mut body).await;
    match received {
        Ok(()) => finished(registry, upload, digest).await,
        Err(error) => Ok(refused(name, &upload, error)),
    }
}

/// GET: how much has come.
pub(crate) async fn status(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    id: UploadId,
) -> Result<Response<Body>, ApiError> {
    let upload = take(registry, name, id).await?;
    Ok(accepted(name, &upload, StatusCode::NO_CONTENT))
}

/// DELETE: never mind.
pub(crate) async fn cancel(
    registry: &Arc<Registry>,
    name: &RepositoryName,
    id: UploadId,
) -> Result<Response<Body>, ApiError> {
    let upload = take(registry, name, id).await?;
    blocking(move || upload.cancel()).await?;
    Ok(answer::bodiless(StatusCode::NO_CONTENT))
}

/// The upload, once no other request has it.
async fn take(registry: &Arc<Registry>, name: &RepositoryName, id: UploadId) -> Result<Upload, ApiError> {
    let (tries, pause) = PATIENCE;
    for _ in 0..tries {
        let (uploads, name) = (registry.uploads.clone(), name.clone());
        let taken = tokio::task::spawn_blocking(move || uploads.take(id, &name)).await;
        match taken.map_err(|_| ApiError::Worker)? {
            Err(UploadError::Busy) => tokio::time::sleep(pause).await,
            Err(error) => return Err(error.into()),
            Ok(upload) => return upload.ok_or(ApiError::UploadUnknown),
        }
    }
    Err(ApiError::Busy)
}

/// Adds a request's body to the upload, which comes back whatever happens: with what came until then.
async fn receive(
    registry: &Arc<Registry>,
    upload: Upload,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> (Upload, Result<(), ApiError>) {
    let begin = upload.written();
    let announced = match range::announced(headers) {
        Ok(Some(range)) if range.start != begin => return (upload, Err(ApiError::UploadOrder { expected: begin })),
        Ok(announced) => announced,
        Err(error) => return (upload, Err(error)),
    };
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let (Some(range), Some(length)) = (&announced, length)
        && range.end - range.start != length
    {
        let error = ApiError::Size("the Content-Range and the Content-Length differ".to_owned());
        return (upload, Err(error));
    }
    let mut upload = upload;
    loop {
        let block = match next_block(body, registry).await {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(error) => return (upload, Err(error)),
        };
        if announced.as_ref().is_some_and(|range| upload.written() + block.len() as u64 > range.end) {
            return (upload, Err(ApiError::Size("the chunk is longer than its Content-Range".to_owned())));
        }
        // The thread that writes gives the upload back when the client is gone meanwhile.
        let written = tokio::task::spawn_blocking(move || {
            let result = upload.append(&block);
            (upload, result)
        });
        let result;
        (upload, result) = match written.await {
            Ok((upload, result)) => (upload, result),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        if let Err(error) = result {
            return (upload, Err(error.into()));
        }
    }
    if announced.is_some_and(|range| upload.written() != range.end) {
        return (upload, Err(ApiError::Size("the chunk is shorter than its Content-Range".to_owned())));
    }
    (upload, Ok(()))
}

async fn finished(registry: &Arc<Registry>, upload: Upload, digest: Digest) -> Result<Response<Body>, ApiError> {
    let (storage, name) = (Arc::clone(&registry.storage), upload.repository().clone());
    blocking(move || storage.finish_upload(upload, digest)).await?;
    Ok(created(&name, &digest))
}

fn created(name: &RepositoryName, digest: &Digest) -> Response<Body> {
    let mut response = answer::empty(StatusCode::CREATED);
    answer::set(response.headers_mut(), LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    answer::set(response.headers_mut(), answer::CONTENT_DIGEST, &digest.to_string());
    response
}

fn accepted(name: &RepositoryName, upload: &Upload, status: StatusCode) -> Response<Body> {
    let mut response = if status == StatusCode::NO_CONTENT { answer::bodiless(status) } else { answer::empty(status) };
    describe(name, upload, response.headers_mut());
    response
}

/// An error that leaves the upload as it is; the client is told how to go on.
fn refused(name: &RepositoryName, upload: &Upload, error: ApiError) -> Response<Body> {
    let mut response = error.into_response();
    describe(name, upload, response.headers_mut());
    response
}

fn describe(name: &RepositoryName, upload: &Upload, headers: &mut HeaderMap) {
    let id = upload.id().to_string();
    answer::set(headers, LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"));
    answer::set(headers, RANGE, &answer::received(upload.written()));
    answer::set(headers, UPLOAD_ID, &id);
}
