// SPDX-License-Identifier: Apache-2.0
//! TLS: whom to trust, and how to prove who asks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::{self, Certificates};
use crate::connector::ConnectError;
use crate::options::Options;

pub(crate) struct Tls {
    pub(crate) timeout: Duration,
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
            extra_roots: options.extra_roots.clone(),
            directories: options.certificate_directories.clone(),
            roots: OnceCell::new(),
            usual: OnceCell::new(),
        }
    }

    pub(crate) async fn wrap(&self, uri: &Uri, stream: TcpStream) -> Result<TlsStream<TcpStream>, ConnectError> {
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
        if roots.is_empty() {
            return Err(ConnectError::NoRoots);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ConnectError::Setup)?
            .with_root_certificates(roots);
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
