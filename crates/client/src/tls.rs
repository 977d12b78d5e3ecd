// SPDX-License-Identifier: Apache-2.0
//! TLS to a daemon: whose certificate it must show, and what is shown to it. A server is always verified: one that
//! is not could be anybody, and is given whole images and environments.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use errors::{Classify, Kind};
use registry_client::{CertificateError, pem};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The files of mutual TLS, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// The authority of the daemon's certificate; without one, those that the system trusts.
    pub authority: Option<PathBuf>,
    /// The certificate to show and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// `ca.pem`, `cert.pem` and `key.pem` of a directory, as far as they are there.
    pub fn in_directory(directory: &Path) -> TlsFiles {
        let there = |name: &str| Some(directory.join(name)).filter(|path| path.is_file());
        TlsFiles { authority: there("ca.pem"), identity: there("cert.pem").zip(there("key.pem")) }
    }
}

/// Why TLS to a daemon did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error(transparent)]
    File(#[from] CertificateError),
    /// An authority or an identity cannot be used.
    #[error("the certificates cannot be used")]
    Unusable(#[source] rustls::Error),
    /// A host that no certificate can name.
    #[error("no certificate can be for \"{0}\"")]
    Name(String),
    /// The handshake failed.
    #[error("the daemon at {host} is not trusted, or does not trust this client")]
    Handshake {
        /// The daemon's host.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Classify for TlsError {
    fn kind(&self) -> Kind {
        match self {
            TlsError::File(error) => error.kind(),
            TlsError::Unusable(_) | TlsError::Name(_) => Kind::InvalidArgument,
            TlsError::Handshake { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            TlsError::Handshake { .. } => Some(
                "--tlscacert is the authority of the daemon's certificate, --tlscert and --tlskey are what it knows this \
                 client by"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// Speaks TLS with the daemon at `host`.
pub(crate) async fn connect(files: &TlsFiles, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, TlsError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
    let connector = TlsConnector::from(Arc::new(configuration(files)?));
    connector.connect(name, stream).await.map_err(|source| TlsError::Handshake { host: host.to_owned(), source })
}

fn configuration(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match &files.authority {
        Some(path) => {
            for root in pem::certificates(path)? {
                roots.add(root).map_err(TlsError::Unusable)?;
            }
        }
        // What cannot be read among them is not trusted, which is safe.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        Some((certificate, key)) => builder
            .with_client_auth_cert(pem::certificates(certificate)?, pem::key(key)?)
            .map_err(TlsError::Unusable)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
