// SPDX-License-Identifier: Apache-2.0
//! Connections: TCP, and TLS over it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use crate::error::Cause;

/// Why there is no connection. [`ConnectError::Tcp`] means that nobody answers; the others, that whoever answers is
/// not to be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("connect")]
    Tcp(#[source] Cause),
    #[error("no certificate authority is trusted on this system")]
    NoRoots,
    #[error("{0:?} is no name that a certificate could be for")]
    Name(String, #[source] InvalidDnsNameError),
    #[error("TLS handshake")]
    Handshake(#[source] io::Error),
    #[error("TLS handshake took longer than {0:?}")]
    HandshakeTimeout(Duration),
    #[error("set up TLS")]
    Setup(#[source] rustls::Error),
}

/// Makes connections for `http` and `https` addresses.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    tls: Arc<Tls>,
}

struct Tls {
    timeout: Duration,
    extra_roots: Vec<CertificateDer<'static>>,
    /// Made at the first `https` connection: reading the system's certificates takes milliseconds.
    config: OnceCell<TlsConnector>,
}

impl Connector {
    pub(crate) fn new(timeout: Duration, extra_roots: Vec<CertificateDer<'static>>) -> Connector {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        Connector { tcp, tls: Arc::new(Tls { timeout, extra_roots, config: OnceCell::new() }) }
    }
}

impl Tls {
    async fn wrap(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, ConnectError> {
        let connector = self.config.get_or_try_init(|| self.configure()).await?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|source| ConnectError::Name(host, source))?;
        match tokio::time::timeout(self.timeout, connector.connect(name, stream)).await {
            Ok(result) => result.map_err(ConnectError::Handshake),
            Err(_) => Err(ConnectError::HandshakeTimeout(self.timeout)),
        }
    }

    async fn configure(&self) -> Result<TlsConnector, ConnectError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.extra_roots.iter().cloned());
        // A certificate that cannot be read is one authority less, never more trust: the rest is used.
        let native = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        roots.add_parsable_certificates(native.map(|result| result.certs).unwrap_or_default());
        if roots.is_empty() {
            return Err(ConnectError::NoRoots);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ConnectError::Setup)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.tcp.poll_ready(cx).map_err(|error| ConnectError::Tcp(error.into()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().to_owned();
        let tls = Arc::clone(&self.tls);
        let connecting = self.tcp.call(uri);
        Box::pin(async move {
            let tcp = connecting.await.map_err(|error| ConnectError::Tcp(error.into()))?.into_inner();
            if !is_tls {
                return Ok(TokioIo::new(Stream::Plain(tcp)));
            }
            Ok(TokioIo::new(Stream::Tls(Box::new(tls.wrap(&host, tcp).await?))))
        })
    }
}

/// A connection to a registry.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
