// SPDX-License-Identifier: Apache-2.0
//! The client: one per process; connections, tokens and what was learnt about registries are shared by all requests.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use oci::manifest::{self, TypeError};
use oci::{Digest, ImageRef};

use crate::ask::{Access, Ask};
use crate::blob::Blob;
use crate::credentials::Credentials;
use crate::error::RegistryError;
use crate::limits::RateLimit;
use crate::options::Options;
use crate::stores::CredentialSource;
use crate::transport::Transport;

/// The manifests that are understood, for `Accept`.
const ACCEPT_MANIFEST: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// The longest manifest (distribution-spec, "Pushing Manifests": registries should accept at least 4 MiB).
const MAX_MANIFEST: u64 = 4 << 20;

/// A manifest or an index, exactly as the registry sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The digest of `body`.
    pub digest: Digest,
    /// One of [`media_type`]'s.
    pub media_type: String,
    /// The document. It is JSON of a known type; its content is not checked further.
    pub body: Bytes,
}

/// A client for all registries. Cheap to clone; the clones share everything.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.transport.options).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that has spoken to nobody yet.
    pub fn new(options: Options) -> Client {
        Client { transport: Arc::new(Transport::new(options)) }
    }

    /// A client that shares this one's connections and asks `registry` with these credentials, others as before.
    pub fn acting_as(&self, registry: &str, credentials: Credentials) -> Client {
        let otherwise = Box::new(self.transport.options.credentials.clone());
        let source = CredentialSource::For { registry: registry.to_owned(), credentials, otherwise };
        Client { transport: Arc::new(self.transport.acting_as(source)) }
    }

    /// Whether `registry` (a host and perhaps a port) answers as a registry does (distribution-spec,
    /// "Determining Support"), and accepts the credentials stored for it. Where its token service gives one, the answer is
    /// an identity token, which can be kept in place of the password.
    ///
    /// # Errors
    /// It cannot be reached, is no registry, or wants other credentials.
    pub async fn check(&self, registry: &str) -> Result<Option<String>, RegistryError> {
        let ask = Ask { access: Access::Login, ..Ask::pull(registry, "", "/v2/") };
        let response = self.transport.get(ask).await?;
        if response.status().is_success() {
            return Ok(self.transport.tokens.identity(registry));
        }
        Err(self.refused(ask, registry, response).await)
    }

    /// How many pulls `registry` still allows, as it said last; `None` when it said nothing of it.
    pub fn rate_limit(&self, registry: &str) -> Option<RateLimit> {
        self.transport.limits.get(registry)
    }

    /// The manifest or index that `image` names: by its digest if it has one, else by its tag, else `latest`. Asked of
    /// mirrors first, where the options' configuration names some.
    ///
    /// # Errors
    /// Besides all that can happen on the way: content that has another digest than was asked for or than the registry
    /// says, that is longer than 4 MiB, or that is of an unknown or ambiguous type.
    pub async fn manifest(&self, image: &ImageRef) -> Result<Manifest, RegistryError> {
        let places = self.transport.places(image)?;
        for mirror in &places.mirrors {
            match self.manifest_at(mirror).await {
                Ok(found) => return Ok(found),
                Err(error) => self.transport.pass_over(mirror, &error),
            }
        }
        self.manifest_at(&places.own).await
    }

    /// The same from the registry itself, which is where pushes go: no mirror is asked. For whoever changes what is there.
    ///
    /// # Errors
    /// As of [`Client::manifest`].
    pub async fn own_manifest(&self, image: &ImageRef) -> Result<Manifest, RegistryError> {
        self.manifest_at(image).await
    }

    async fn manifest_at(&self, image: &ImageRef) -> Result<Manifest, RegistryError> {
        let path = format!("/v2/{}/manifests/{}", image.repository(), image.manifest_reference());
        let ask = Ask { accept: Some(ACCEPT_MANIFEST), ..Ask::pull(image.registry(), image.repository(), &path) };
        let response = self.transport.get(ask).await?;
        if response.status() == StatusCode::NOT_FOUND {
            let message = self.transport.message(ask, response.into_body()).await;
            let (image, registry) = (image.to_string(), image.registry().to_owned());
            return Err(RegistryError::ImageNotFound { image, registry, message });
        }
        if !response.status().is_success() {
            return Err(self.refused(ask, &image.to_string(), response).await);
        }
        let (head, body) = response.into_parts();
        let body = self.transport.read(ask, body, MAX_MANIFEST).await?;
        let digest = verified_digest(image, &head.headers, &body)?;
        let media_type = checked_type(image, &head.headers, &body)?;
        Ok(Manifest { digest, media_type, body })
    }

    /// The blob `digest` of `image`'s repository, which has `size` bytes. See [`Blob`].
    ///
    /// # Errors
    /// It cannot be had, or the registry announces another size.
    pub async fn blob(&self, image: &ImageRef, digest: Digest, size: u64) -> Result<Blob, RegistryError> {
        self.blob_from(image, digest, size, 0).await
    }

    /// The same from byte `from` on, which must not lie behind the end.
    ///
    /// # Errors
    /// It cannot be had, or the registry announces another size.
    pub async fn blob_from(
        &self,
        image: &ImageRef,
        digest: Digest,
        size: u64,
        from: u64,
    ) -> Result<Blob, RegistryError> {
        let places = self.transport.places(image)?;
        for mirror in places.mirrors {
            match Blob::open(self.clone(), mirror.clone(), digest, size, from).await {
                Ok(found) => return Ok(found),
                Err(error) => self.transport.pass_over(&mirror, &error),
            }
        }
        Blob::open(self.clone(), places.own, digest, size, from).await
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The error behind an answer that is neither what was asked for nor "not found".
    pub(crate) async fn refused(&self, ask: Ask<'_>, image: &str, response: Response<Incoming>) -> RegistryError {
        let status = response.status();
        let message = self.transport.message(ask, response.into_body()).await;
        let (registry, image) = (ask.registry.to_owned(), image.to_owned());
        match status {
            StatusCode::UNAUTHORIZED => match self.transport.credentials(ask).await {
                Ok(credentials) => {
                    RegistryError::Unauthorized { registry, image, had_credentials: credentials.is_some(), message }
                }
                Err(error) => error,
            },
            StatusCode::FORBIDDEN => RegistryError::Denied { registry, image, message },
            status => RegistryError::Status { registry, path: ask.path.to_owned(), status, message },
        }
    }
}

/// The digest of `body`, which must be the one asked for and the one that the registry claims. It is of the algorithm by
/// which it was asked for, or else of the one that the registry uses.
fn verified_digest(image: &ImageRef, headers: &HeaderMap, body: &[u8]) -> Result<Digest, RegistryError> {
    let claimed = headers.get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
    let mut named = image.digest().into_iter().chain(claimed).peekable();
    let digest = named.peek().map_or_else(|| Digest::of(body), |name| name.algorithm().digest(body));
    // The two may be of different algorithms.
    for expected in named {
        let found = expected.matches(expected.algorithm().digest(body));
        found.map_err(|mismatch| RegistryError::WrongDigest { image: image.to_string(), mismatch })?;
    }
    Ok(digest)
}

/// The media type of `body`.
fn checked_type(image: &ImageRef, headers: &HeaderMap, body: &[u8]) -> Result<String, RegistryError> {
    let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let header = header.map(|value| value.split(';').next().unwrap_or(value).trim());
    let header = header.filter(|value| !matches!(*value, "application/json" | "application/octet-stream" | ""));
    let name = || image.to_string();
    manifest::type_of(body, header).map_err(|error| match error {
        TypeError::Json(source) => {
            RegistryError::Malformed { registry: image.registry().to_owned(), what: "manifest", source }
        }
        TypeError::Unknown(media_type) => RegistryError::ManifestType { image: name(), media_type },
        TypeError::Ambiguous { declared, found } => RegistryError::Ambiguous { image: name(), declared, found },
    })
}
