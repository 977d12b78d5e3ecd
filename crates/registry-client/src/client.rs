// SPDX-License-Identifier: Apache-2.0
//! The client: one per process; connections, tokens and what was learnt about registries are shared by all requests.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use oci::{Digest, ImageRef};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ask::Ask;
use crate::blob::Blob;
use crate::credentials::Credentials;
use crate::error::RegistryError;
use crate::limits::RateLimit;
use crate::options::Options;
use crate::stores::CredentialSource;
use crate::transport::Transport;

/// Media types of manifests (image-spec, "Media Types"; Docker's "Image Manifest V 2, Schema 2").
pub mod media_type {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index: one image for several platforms.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker's image manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
}

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
    /// "Determining Support"), and accepts the credentials stored for it.
    ///
    /// # Errors
    /// It cannot be reached, is no registry, or wants other credentials.
    pub async fn check(&self, registry: &str) -> Result<(), RegistryError> {
        let ask = Ask::pull(registry, "", "/v2/");
        let response = self.transport.get(ask).await?;
        if response.status().is_success() {
            return Ok(());
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

/// The digest of `body`, which must be the one asked for and the one that the registry claims.
fn verified_digest(image: &ImageRef, headers: &HeaderMap, body: &[u8]) -> Result<Digest, RegistryError> {
    let actual = Digest::of(body);
    let claimed = headers.get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse().ok());
    for expected in image.digest().into_iter().chain(claimed) {
        if expected != actual {
            return Err(RegistryError::WrongDigest { image: image.to_string(), expected, actual });
        }
    }
    Ok(actual)
}

/// The media type of `body`. Header and document must agree, and the document must not read as two kinds at once:
/// otherwise two readers could be made to see two different images under one digest (CVE-2021-41190).
fn checked_type(image: &ImageRef, headers: &HeaderMap, body: &[u8]) -> Result<String, RegistryError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: u32,
        media_type: Option<String>,
        manifests: Option<IgnoredAny>,
        layers: Option<IgnoredAny>,
        config: Option<IgnoredAny>,
    }
    let shape: Shape = serde_json::from_slice(body).map_err(|source| RegistryError::Malformed {
        registry: image.registry().to_owned(),
        what: "manifest",
        source,
    })?;
    let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let header = header.map(|value| value.split(';').next().unwrap_or(value).trim().to_owned());
    let header = header.filter(|value| !matches!(value.as_str(), "application/json" | "application/octet-stream" | ""));
    if shape.schema_version != 2 {
        let media_type = header.unwrap_or_else(|| format!("schema version {}", shape.schema_version));
        return Err(RegistryError::ManifestType { image: image.to_string(), media_type });
    }
    let is_index = shape.manifests.is_some();
    let ambiguous = |declared: &str, found: &str| RegistryError::Ambiguous {
        image: image.to_string(),
        declared: declared.to_owned(),
        found: found.to_owned(),
    };
    if is_index && (shape.layers.is_some() || shape.config.is_some()) {
        return Err(ambiguous(header.as_deref().unwrap_or_default(), "both an index and an image manifest"));
    }
    if let (Some(header), Some(inside)) = (&header, &shape.media_type)
        && header != inside
    {
        return Err(ambiguous(header, inside));
    }
    let inferred = if is_index { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
    let media_type = header.or(shape.media_type).unwrap_or_else(|| inferred.to_owned());
    let says_index = match media_type.as_str() {
        media_type::OCI_INDEX | media_type::DOCKER_LIST => true,
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => false,
        _ => return Err(RegistryError::ManifestType { image: image.to_string(), media_type }),
    };
    if says_index != is_index {
        return Err(ambiguous(&media_type, inferred));
    }
    Ok(media_type)
}
