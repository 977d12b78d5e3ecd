// SPDX-License-Identifier: Apache-2.0
//! TLS: whom to trust, and how to prove who asks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::{self, Certificates};
use crate::connector::{ConnectError, Io};
use crate::options::Options;

pub(crate) struct Tls {
    pub(crate) timeout: Duration,
    unverified: bool,
    extra_roots: Vec<CertificateDer<'static>>,
    directories: Vec<PathBuf>,
    /// Read at the first `https` connection: the system's certificates take milliseconds.
    roots: OnceCell<Arc<RootCertStore>>,
    /// For registries without certificates of their own.
    usual: OnceCell<TlsConnector>,
}

impl Tls {
    pub(crate) fn new(options: &Options) -> Tls {
        Tls {
            timeout: options.connect_timeout,
            unverified: options.unverified,
            extra_roots: options.extra_roots.clone(),
            directories: options.certificate_directories.clone(),
            roots: OnceCell::new(),
            usual: OnceCell::new(),
        }
    }

    pub(crate) async fn wrap<S: Io>(&self, uri: &Uri, stream: S) -> Result<TlsStream<S>, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let connector = self.connector(uri).await?;
        let name = ServerName::try_from(host.clone()).map_err(|source| ConnectError::Name(host, source))?;
        match tokio::time::timeout(self.timeout, connector.connect(name, stream)).await {
            Ok(result) => result.map_err(ConnectError::Handshake),
            Err(_) => Err(ConnectError::HandshakeTimeout(self.timeout)),
        }
    }

    /// A registry with a directory has it read anew for each connection, so that a certificate put there counts at once.
    async fn connector(&self, uri: &Uri) -> Result<TlsConnector, ConnectError> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let own = certificates::directories_of(&self.directories, authority);
        if own.is_empty() {
            let usual = self.usual.get_or_try_init(async || self.configure(Certificates::default()).await).await?;
            return Ok(usual.clone());
        }
        self.configure(certificates::read(&own)?).await
    }

    async fn configure(&self, own: Certificates) -> Result<TlsConnector, ConnectError> {
        let mut roots = Arc::clone(self.roots.get_or_init(async || Arc::new(self.read_roots().await)).await);
        if !own.roots.is_empty() {
            // What cannot be read as a certificate is one authority less, never more trust.
            Arc::make_mut(&mut roots).add_parsable_certificates(own.roots);
        }
        if roots.is_empty() && !self.unverified {
            return Err(ConnectError::NoRoots);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(ConnectError::Setup)?;
        let builder = match self.unverified {
            true => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))),
            false => builder.with_root_certificates(roots),
        };
        let mut config = match own.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(ConnectError::Setup)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn read_roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.extra_roots.iter().cloned());
        let native = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        roots.add_parsable_certificates(native.map(|result| result.certs).unwrap_or_default());
        roots
    }
}

/// Takes every certificate, of a server whose user said so.
pub fn unverified(provider: Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Unverified(provider))
}

/// Takes every certificate. Whoever shows it must still have its key: a handshake that is none would only break later.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
