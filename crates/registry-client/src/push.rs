// SPDX-License-Identifier: Apache-2.0
//! Pushing (distribution-spec, "Push"): what is there already, mounts, manifests. Blobs that must travel: `upload.rs`.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Incoming;
use oci::{Digest, ImageRef};

use crate::ask::{Access, Ask, Outgoing, Payload};
use crate::client::Client;
use crate::error::RegistryError;
use crate::location;

impl Client {
    /// Whether `image`'s repository has the blob. Asked with the right to push, which the answer may depend on.
    ///
    /// # Errors
    /// The registry cannot be asked, or refuses.
    pub async fn blob_exists(&self, image: &ImageRef, digest: Digest) -> Result<bool, RegistryError> {
        let path = format!("/v2/{}/blobs/{digest}", image.repository());
        let ask = Ask::push(image.registry(), image.repository(), &path);
        let response = self.transport().exchange(ask, &Outgoing::empty(Method::HEAD)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.refused(ask, &image.to_string(), response).await),
        }
    }

    /// Makes the blob of the repository `from` of the same registry one of `image`'s repository, too, without moving
    /// a byte. `false` when the registry does not do so: it has no such blob there, or does not let us read it.
    ///
    /// # Errors
    /// The registry cannot be asked, or refuses the push.
    pub async fn mount_blob(&self, image: &ImageRef, digest: Digest, from: &str) -> Result<bool, RegistryError> {
        let path = format!("/v2/{}/blobs/uploads/?mount={digest}&from={from}", image.repository());
        let ask = Ask { access: Access::Mount(from), ..Ask::push(image.registry(), image.repository(), &path) };
        let response = match self.transport().exchange(ask, &Outgoing::empty(Method::POST)).await {
            Ok(response) => response,
            // No token for both repositories. Whether there is one for the push alone, the upload will tell.
            Err(RegistryError::Unauthorized { .. } | RegistryError::Denied { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        match response.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => {
                // An upload has begun instead, which nobody will go on with.
                if let Some(location) = upload_location(ask, response.headers()) {
                    self.abandon(image, &location).await;
                }
                Ok(false)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused_push(ask, image, format!("blob {digest}"), response).await),
        }
    }

    /// Puts a manifest or an index, whose blobs must be there, under `image`'s digest if it has one, else its tag, else
    /// `latest`. Returns its digest.
    ///
    /// # Errors
    /// The registry cannot be asked, refuses, or claims to have stored something else.
    pub async fn push_manifest(
        &self,
        image: &ImageRef,
        media_type: &str,
        content: Bytes,
    ) -> Result<Digest, RegistryError> {
        let algorithm = image.digest().map(|digest| digest.algorithm()).unwrap_or_default();
        let digest = algorithm.digest(&content);
        let path = format!("/v2/{}/manifests/{}", image.repository(), image.manifest_reference());
        let ask = Ask::push(image.registry(), image.repository(), &path);
        let payload = Payload::Document(content, media_type.to_owned());
        let response = self.transport().exchange(ask, &Outgoing { method: Method::PUT, payload }).await?;
        if !response.status().is_success() {
            return Err(self.refused_push(ask, image, "the manifest".to_owned(), response).await);
        }
        same_digest(image, response.headers(), digest)?;
        Ok(digest)
    }

    /// The error behind an answer that refuses what was pushed.
    pub(crate) async fn refused_push(
        &self,
        ask: Ask<'_>,
        image: &ImageRef,
        what: String,
        response: Response<Incoming>,
    ) -> RegistryError {
        let status = response.status();
        if !status.is_client_error() || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return self.refused(ask, &image.to_string(), response).await;
        }
        let message = self.transport().message(ask, response.into_body()).await;
        let (registry, image) = (ask.registry.to_owned(), image.to_string());
        RegistryError::PushRefused { registry, image, what, status, message }
    }
}

/// Where an upload goes on, as a whole address.
pub(crate) fn upload_location(ask: Ask<'_>, headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    if location.contains("://") || location.starts_with('/') {
        return Some(location.to_owned());
    }
    // Relative to what was asked for, which is an address only where the registry gave one.
    let base = ask.path.parse().ok()?;
    location::resolve(&base, location).map(|uri| uri.to_string())
}

/// What the registry says that it stored must be what was sent.
pub(crate) fn same_digest(image: &ImageRef, headers: &HeaderMap, sent: Digest) -> Result<(), RegistryError> {
    let claimed = headers.get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
    match claimed {
        // One of another algorithm says nothing that can be compared.
        Some(stored) if stored.algorithm() == sent.algorithm() => sent.matches(stored).map_err(|mismatch| {
            RegistryError::StoredOther { registry: image.registry().to_owned(), image: image.to_string(), mismatch }
        }),
        _ => Ok(()),
    }
}
