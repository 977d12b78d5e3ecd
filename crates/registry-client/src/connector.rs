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
use rustls::pki_types::InvalidDnsNameError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use crate::certificates::CertificateError;
use crate::error::Cause;
use crate::options::Options;
use crate::proxy::Proxies;
use crate::tls::Tls;
use crate::tunnel;

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
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the proxy {0} is not an http:// address, and no other is supported")]
    ProxyScheme(String),
    #[error("the proxy {0} makes no connection")]
    Tunnel(String, #[source] io::Error),
}

/// Makes connections for `http` and `https` addresses, through proxies where they are named.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    tls: Arc<Tls>,
    proxies: Arc<Proxies>,
}

impl Connector {
    pub(crate) fn new(options: &Options) -> Connector {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.connect_timeout));
        Connector { tcp, tls: Arc::new(Tls::new(options)), proxies: Arc::new(options.proxies.clone()) }
    }

    async fn connect(mut self, uri: Uri) -> Result<Stream, ConnectError> {
        let is_tls = uri.scheme_str() == Some("https");
        let proxy = self.proxies.find(&uri).cloned();
        let first = match &proxy {
            Some(proxy) if proxy.address.scheme_str() != Some("http") => {
                return Err(ConnectError::ProxyScheme(proxy.address.to_string()));
            }
            Some(proxy) => proxy.address.clone(),
            None => uri.clone(),
        };
        let tcp = self.tcp.call(first).await.map_err(|error| ConnectError::Tcp(error.into()))?.into_inner();
        match (is_tls, proxy) {
            (false, proxy) => Ok(Stream::Plain { tcp, is_proxied: proxy.is_some() }),
            (true, None) => Ok(Stream::Tls(Box::new(self.tls.wrap(&uri, tcp).await?))),
            (true, Some(proxy)) => {
                let limit = self.tls.timeout;
                let tunnel = tokio::time::timeout(limit, tunnel::open(tcp, &uri, &proxy)).await;
                let tcp = tunnel.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
                let tcp = tcp.map_err(|error| ConnectError::Tunnel(proxy.address.to_string(), error))?;
                Ok(Stream::Tls(Box::new(self.tls.wrap(&uri, tcp).await?)))
            }
        }
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
        let connecting = self.clone().connect(uri);
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}

/// A connection to a registry.
pub(crate) enum Stream {
    Plain {
        tcp: TcpStream,
        /// A proxy answers, and must be told the whole address.
        is_proxied: bool,
    },
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(matches!(self, Stream::Plain { is_proxied: true, .. }))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain { tcp: stream, .. } => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain { tcp: stream, .. } => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain { tcp: stream, .. } => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain { tcp: stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
