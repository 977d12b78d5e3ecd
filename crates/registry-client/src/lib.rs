// SPDX-License-Identifier: Apache-2.0
//! The client of the OCI distribution protocol (distribution-spec 1.1, "Pull" and "Push").
//!
//! What a registry says is never believed: manifests are compared with the digest they were asked by, every answer has
//! a size limit, every wait a time limit, and credentials go only to the registry (and its token service) they are for.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = registry_client::Client::new(registry_client::Options::default());
//! let name: oci::ImageRef = "docker.io/library/debian:12".parse()?;
//! let manifest = client.manifest(&name).await?;
//! println!("{} is {}", name, manifest.digest);
//! # Ok(()) }
//! ```

mod answer;
mod ask;
mod auth;
mod blob;
mod body;
mod certificates;
mod challenge;
mod client;
mod connector;
mod credential_helper;
mod credentials;
mod docker_config;
mod download;
mod error;
mod limits;
mod location;
mod mirrors;
mod options;
mod proxy;
mod push;
mod ranges;
mod routes;
mod scheme;
mod socks5;
mod stores;
mod tags;
mod tls;
mod transport;
mod tunnel;
mod upload;
mod vault;

/// Certificates and keys in files.
pub mod pem {
    pub use crate::certificates::{certificates, key};
}

pub use blob::Blob;
pub use body::Source;
pub use certificates::CertificateError;
pub use client::{Client, Manifest};
pub use credential_helper::HelperError;
pub use credentials::{BadHeader, Credentials, Secret};
pub use docker_config::DockerConfigError;
pub use download::{Download, DownloadError};
pub use error::RegistryError;
pub use limits::RateLimit;
pub use oci::media_type;
pub use options::Options;
pub use proxy::Proxies;
pub use routes::RoutesError;
pub use stores::{CredentialSource, CredentialStores, CredentialsError, Keeper};
pub use tls::unverified;
pub use vault::VaultError;
