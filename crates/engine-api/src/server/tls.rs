// SPDX-License-Identifier: Apache-2.0
//! TLS on a listener: the daemon's certificate, and the authority that clients' certificates must come from. There is no
//! TLS without the latter: whoever may connect is root on this host.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use errors::{Classify, Kind};
use registry_client::CertificateError;
use registry_client::pem;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// The files of mutual TLS, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority of clients' certificates.
    pub authority: PathBuf,
    /// The daemon's certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error(transparent)]
    File(#[from] CertificateError),
    /// The authority's certificate is none.
    #[error("{0:?} holds no certificate that could be an authority's")]
    Authority(PathBuf, #[source] rustls::Error),
    /// Nothing can be checked against the authority.
    #[error("clients' certificates cannot be checked against {0:?}")]
    Verifier(PathBuf, #[source] VerifierBuilderError),
    /// Certificate and key do not fit together.
    #[error("the certificate {0:?} and its key cannot be used together")]
    Mismatch(PathBuf, #[source] rustls::Error),
}

impl Classify for TlsError {
    fn kind(&self) -> Kind {
        match self {
            TlsError::File(error) => error.kind(),
            _ => Kind::InvalidArgument,
        }
    }
}

/// Mutual TLS, with the certificates of the last time that they were read.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn read(files: TlsFiles) -> Result<ServerTls, TlsError> {
        let current = RwLock::new(Arc::new(configuration(&files)?));
        Ok(ServerTls { files, current })
    }

    /// Reads the files anew, for the connections to come.
    ///
    /// # Errors
    /// One of them cannot be used; then those from before stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = Arc::new(configuration(&self.files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn configuration(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in pem::certificates(&files.authority)? {
        roots.add(root).map_err(|error| TlsError::Authority(files.authority.clone(), error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| TlsError::Verifier(files.authority.clone(), error))?;
    let (chain, key) = (pem::certificates(&files.certificate)?, pem::key(&files.key)?);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
        .map_err(|error| TlsError::Mismatch(files.certificate.clone(), error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
