// SPDX-License-Identifier: Apache-2.0
//! What can go wrong between here and a registry.

use std::error::Error;
use std::io;
use std::time::Duration;

use errors::{Classify, Kind};
use http::StatusCode;
use oci::{Digest, Mismatch};

use crate::routes::RoutesError;
use crate::stores::CredentialsError;

/// The error that a library below hands up without telling its type.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why a registry's content could not be had, or given to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No connection could be made.
    #[error("cannot reach registry {registry}")]
    Unreachable {
        /// The registry, as the image name gives it.
        registry: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The connection is not to be trusted, or is no TLS at all.
    #[error("cannot make a secure connection to registry {registry}")]
    Tls {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Nothing came for too long.
    #[error("registry {registry} was silent for {after:?} while asked for {path}")]
    Silent {
        /// The registry.
        registry: String,
        /// What was asked for.
        path: String,
        /// The time limit.
        after: Duration,
    },
    /// The connection ended in the middle of an answer, or the answer is not HTTP.
    #[error("the connection to registry {registry} broke while asked for {path}")]
    Broken {
        /// The registry.
        registry: String,
        /// What was asked for.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The registry has no such manifest.
    #[error("image {image} was not found in registry {registry}{}", said(.message))]
    ImageNotFound {
        /// The image's name.
        image: String,
        /// The registry that was asked.
        registry: String,
        /// What the registry says about it.
        message: Option<String>,
    },
    /// The registry's manifest names a blob that the registry does not have.
    #[error("registry {registry} does not have blob {digest} of its own image {image}")]
    BlobNotFound {
        /// The image's name.
        image: String,
        /// The registry.
        registry: String,
        /// The blob.
        digest: Digest,
    },
    /// The registry wants credentials, or other ones.
    #[error("registry {registry} refuses access to {image} without {}{}", if *.had_credentials { "other credentials" } else { "credentials" }, said(.message))]
    Unauthorized {
        /// The registry.
        registry: String,
        /// The image's name.
        image: String,
        /// Whether a user name and password were sent.
        had_credentials: bool,
        /// What the registry says about it.
        message: Option<String>,
    },
    /// The registry knows who asks, and says no.
    #[error("registry {registry} denies access to {image}{}", said(.message))]
    Denied {
        /// The registry.
        registry: String,
        /// The image's name.
        image: String,
        /// What the registry says about it.
        message: Option<String>,
    },
    /// Too many requests, and the registry wants a longer pause than is reasonable to wait.
    #[error("registry {registry} accepts no more requests for now{}", .wait.map(|wait| format!("; it asks to wait {wait:?}")).unwrap_or_default())]
    RateLimited {
        /// The registry.
        registry: String,
        /// The pause it wants.
        wait: Option<Duration>,
    },
    /// An HTTP status that means nothing good here.
    #[error("registry {registry} answers {status} to {path}{}", said(.message))]
    Status {
        /// The registry.
        registry: String,
        /// What was asked for.
        path: String,
        /// The status.
        status: StatusCode,
        /// What the registry says about it.
        message: Option<String>,
    },
    /// An answer longer than its kind may be.
    #[error("registry {registry} sends more than {limit} bytes for {path}")]
    TooLarge {
        /// The registry.
        registry: String,
        /// What was asked for.
        path: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A list whose pages lead on and on, or back to one that was there before.
    #[error("registry {registry} sends a list without an end: {path} is one page too many")]
    Endless {
        /// The registry.
        registry: String,
        /// The page that was not asked for any more.
        path: String,
    },
    /// An answer that is not the JSON it should be.
    #[error("registry {registry} sends no valid {what}")]
    Malformed {
        /// The registry.
        registry: String,
        /// What it should have been.
        what: &'static str,
        /// Why it is not.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest that says it is one kind of document and reads as another.
    #[error("the manifest of {image} is ambiguous: it is sent as {declared:?} and reads as {found:?}")]
    Ambiguous {
        /// The image's name.
        image: String,
        /// What the registry's header says.
        declared: String,
        /// What the document says.
        found: String,
    },
    /// A manifest in a form that is not supported.
    #[error("the manifest of {image} has the type {media_type:?}, which is not supported")]
    ManifestType {
        /// The image's name.
        image: String,
        /// The type, as the registry gives it.
        media_type: String,
    },
    /// Content that is not what was asked for.
    #[error("the manifest of {image} should be {} and is {}", .mismatch.expected, .mismatch.found)]
    WrongDigest {
        /// The image's name.
        image: String,
        /// What was asked for, or what the registry claims to send, and what came.
        mismatch: Box<Mismatch>,
    },
    /// A blob longer or shorter than its manifest says.
    #[error("blob {digest} from registry {registry} should have {expected} bytes and has {}", .actual.map_or("more".to_owned(), |actual| actual.to_string()))]
    WrongSize {
        /// The registry.
        registry: String,
        /// The blob.
        digest: Digest,
        /// What the manifest says, in bytes.
        expected: u64,
        /// What came, in bytes, where it was counted to the end.
        actual: Option<u64>,
    },
    /// The registry does not take what is pushed.
    #[error("registry {registry} refuses {what} of {image} with {status}{}", said(.message))]
    PushRefused {
        /// The registry.
        registry: String,
        /// The image's name.
        image: String,
        /// Which part of the image.
        what: String,
        /// The status.
        status: StatusCode,
        /// What the registry says about it.
        message: Option<String>,
    },
    /// The registry has stored something else than was pushed.
    #[error("registry {registry} was sent {} of {image} and says that it stored {}", .mismatch.expected, .mismatch.found)]
    StoredOther {
        /// The registry.
        registry: String,
        /// The image's name.
        image: String,
        /// What was sent, and what the registry claims to have.
        mismatch: Box<Mismatch>,
    },
    /// The registry accepts an upload and does not say where it goes on.
    #[error("registry {registry} does not say where the upload to {path} goes on")]
    NoLocation {
        /// The registry.
        registry: String,
        /// What was asked for.
        path: String,
    },
    /// A blob that is pushed cannot be read.
    #[error("cannot read blob {digest} of {image}")]
    Source {
        /// The image's name.
        image: String,
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A redirect that is not followed.
    #[error("registry {registry} redirects {path} to {location:?}, which is not followed: {why}")]
    Redirect {
        /// The registry.
        registry: String,
        /// What was asked for.
        path: String,
        /// Where to.
        location: String,
        /// Why not.
        why: &'static str,
    },
    /// The registry asks for a way of logging in that is not safe or not known.
    #[error("registry {registry} asks for a login that is not possible: {why}")]
    Challenge {
        /// The registry.
        registry: String,
        /// Why not.
        why: &'static str,
    },
    /// The configuration of registries cannot be used, or forbids the image.
    #[error("cannot ask for {image}")]
    Routes {
        /// The image's name.
        image: String,
        /// Why.
        #[source]
        source: RoutesError,
    },
    /// The credentials could not be read.
    #[error("cannot read the credentials for registry {registry}")]
    Credentials {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: CredentialsError,
    },
}

fn said(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!(" (it says: {message})")).unwrap_or_default()
}

impl RegistryError {
    /// Whether the same request may go better a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            RegistryError::Silent { .. } | RegistryError::Broken { .. } => true,
            RegistryError::Status { status, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            RegistryError::RateLimited { .. } => true,
            _ => false,
        }
    }
}

impl Classify for RegistryError {
    fn kind(&self) -> Kind {
        match self {
            RegistryError::Unreachable { .. }
            | RegistryError::Tls { .. }
            | RegistryError::Silent { .. }
            | RegistryError::Broken { .. }
            | RegistryError::RateLimited { .. }
            | RegistryError::Status { .. } => Kind::Unavailable,
            RegistryError::ImageNotFound { .. } => Kind::NotFound,
            RegistryError::Unauthorized { .. } => Kind::Unauthorized,
            RegistryError::Denied { .. } => Kind::PermissionDenied,
            RegistryError::ManifestType { .. } => Kind::Unsupported,
            RegistryError::BlobNotFound { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::Endless { .. }
            | RegistryError::Malformed { .. }
            | RegistryError::Ambiguous { .. }
            | RegistryError::WrongDigest { .. }
            | RegistryError::WrongSize { .. }
            | RegistryError::Redirect { .. }
            | RegistryError::StoredOther { .. }
            | RegistryError::NoLocation { .. }
            | RegistryError::Challenge { .. } => Kind::Corrupt,
            RegistryError::PushRefused { status, .. } => match *status {
                StatusCode::METHOD_NOT_ALLOWED => Kind::Unsupported,
                StatusCode::PAYLOAD_TOO_LARGE => Kind::NoSpace,
                StatusCode::NOT_FOUND => Kind::NotFound,
                _ => Kind::InvalidArgument,
            },
            RegistryError::Source { source, .. } => errors::kind_of_io(source),
            RegistryError::Routes { source: RoutesError::Blocked { .. }, .. } => Kind::PermissionDenied,
            RegistryError::Routes { .. } => Kind::InvalidArgument,
            RegistryError::Credentials { source, .. } => source.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RegistryError::Unreachable { registry, .. } => {
                Some(format!("check the name {registry:?}, that the registry runs, and that this host may reach it"))
            }
            RegistryError::Tls { registry, .. } => Some(format!(
                "if {registry} uses a certificate of its own authority, put that authority's certificate into \
                 /etc/containers/certs.d/{registry}/ca.crt"
            )),
            RegistryError::ImageNotFound { .. } => Some("check the image's name and tag".to_owned()),
            RegistryError::Unauthorized { registry, had_credentials: false, .. } => {
                Some(format!("check the image's name; if it is private, log in: corten login {registry}"))
            }
            RegistryError::Unauthorized { registry, had_credentials: true, .. } => {
                Some(format!("check who you are to {registry}: corten login {registry}"))
            }
            RegistryError::RateLimited { .. } => Some("wait, or log in: registries allow known users more".to_owned()),
            RegistryError::Silent { .. } | RegistryError::Broken { .. } => Some("try again".to_owned()),
            RegistryError::BlobNotFound { .. }
            | RegistryError::WrongDigest { .. }
            | RegistryError::WrongSize { .. } => {
                Some("the registry's copy of the image is damaged: push the image again".to_owned())
            }
            RegistryError::ManifestType { .. } => Some(
                "images of the OCI format and of Docker's schema 2 are supported: push the image again in one of them"
                    .to_owned(),
            ),
            RegistryError::PushRefused { status, registry, .. } => match *status {
                StatusCode::METHOD_NOT_ALLOWED => Some(format!("{registry} can only be pulled from")),
                StatusCode::PAYLOAD_TOO_LARGE => {
                    Some(format!("raise the limit of {registry} or of the proxy before it"))
                }
                _ => None,
            },
            RegistryError::Credentials { source, .. } => source.hint(),
            RegistryError::Routes { source: RoutesError::Version1 { .. }, .. } => {
                Some("write it anew with [[registry]] tables: containers-registries.conf(5)".to_owned())
            }
            _ => None,
        }
    }
}
