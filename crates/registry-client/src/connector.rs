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
use tower_service::Service;

use crate::certificates::CertificateError;
use crate::error::Cause;
use crate::options::Options;
use crate::proxy::{Proxies, Proxy};
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
    #[error("the proxy {0} is neither an http:// nor an https:// address, and no other is supported")]
    ProxyScheme(String),
    #[error("no secure connection to the proxy {0}")]
    ProxyTls(String, #[source] Box<ConnectError>),
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
        let Some(proxy) = self.proxies.find(&uri).cloned() else {
            let tcp = self.tcp(uri.clone()).await?;
            let io: Box<dyn Io> = if is_tls { Box::new(self.tls.wrap(&uri, tcp).await?) } else { Box::new(tcp) };
            return Ok(Stream { io, is_proxied: false });
        };
        let io = self.reach(&proxy).await?;
        if !is_tls {
            return Ok(Stream { io, is_proxied: true });
        }
        let tunnel = tokio::time::timeout(self.tls.timeout, tunnel::open(io, &uri, &proxy)).await;
        let io = tunnel.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        let io = io.map_err(|error| ConnectError::Tunnel(proxy.address.to_string(), error))?;
        Ok(Stream { io: Box::new(self.tls.wrap(&uri, io).await?), is_proxied: false })
    }

    async fn tcp(&mut self, uri: Uri) -> Result<TcpStream, ConnectError> {
        Ok(self.tcp.call(uri).await.map_err(|error| ConnectError::Tcp(error.into()))?.into_inner())
    }

    /// A connection to the proxy itself, which may want TLS as a registry may.
    async fn reach(&mut self, proxy: &Proxy) -> Result<Box<dyn Io>, ConnectError> {
        let address = &proxy.address;
        match address.scheme_str() {
            Some("http") => Ok(Box::new(self.tcp(address.clone()).await?)),
            Some("https") => {
                let tcp = self.tcp(address.clone()).await?;
                let tls = self.tls.wrap(address, tcp).await;
                Ok(Box::new(tls.map_err(|error| ConnectError::ProxyTls(address.to_string(), Box::new(error)))?))
            }
            _ => Err(ConnectError::ProxyScheme(address.to_string())),
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

/// What bytes go over: TCP, TLS over it, or TLS in the TLS of a proxy.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection to a registry.
pub(crate) struct Stream {
    io: Box<dyn Io>,
    /// A proxy answers, and must be told the whole address.
    is_proxied: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_proxied)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
