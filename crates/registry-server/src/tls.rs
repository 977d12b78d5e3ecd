// SPDX-License-Identifier: Apache-2.0
//! TLS: the registry's certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use errors::{Classify, Kind, kind_of_io};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// It cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is none in the file.
    #[error("{path:?} has no {what} in PEM")]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// They do not fit together.
    #[error("the certificate and the key cannot be used together")]
    Mismatch(#[source] rustls::Error),
}

impl Classify for TlsError {
    fn kind(&self) -> Kind {
        match self {
            TlsError::Read { source, .. } => kind_of_io(source),
            TlsError::Missing { .. } | TlsError::Mismatch(_) => Kind::InvalidArgument,
        }
    }
}

/// A registry's certificate, with those between it and its authority, and its private key.
#[derive(Debug, Clone)]
pub struct Identity(pub(crate) Arc<ServerConfig>);

impl Identity {
    /// Reads a chain of certificates, the registry's first, and its key; both in PEM.
    ///
    /// # Errors
    /// One of them cannot be read, or they do not belong together.
    pub fn read(certificates: &Path, key: &Path) -> Result<Identity, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
        let missing = |path: &Path, what| TlsError::Missing { path: path.to_owned(), what };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificates)?)
            .collect::<Result<_, _>>()
            .map_err(|_| missing(certificates, "certificates"))?;
        if chain.is_empty() {
            return Err(missing(certificates, "certificates"));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| missing(key, "private key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Mismatch)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Identity(Arc::new(config)))
    }
}
