// SPDX-License-Identifier: Apache-2.0
//! Connections: TCP, and TLS over it.

use std::future::Future;
use std::io;
use std::net::IpAddr;
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
use crate::socks5::{self, SocksError, Target};
use crate::tls::Tls;
use crate::tunnel;

/// Addresses of one host that a SOCKS5 proxy is asked for.
const MAX_ADDRESSES: usize = 4;

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
    #[error("the proxy {0} is no http://, https://, socks5:// or socks5h:// address, and no other is supported")]
    ProxyScheme(String),
    #[error("no secure connection to the proxy {0}")]
    ProxyTls(String, #[source] Box<ConnectError>),
    #[error("the proxy {0} makes no connection")]
    Tunnel(String, #[source] io::Error),
    #[error("the proxy {0} makes no connection")]
    Socks(String, #[source] SocksError),
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
        if let Some(scheme @ ("socks5" | "socks5h")) = proxy.address.scheme_str() {
            let io = self.through_socks(&uri, &proxy, scheme == "socks5").await?;
            let io: Box<dyn Io> = if is_tls { Box::new(self.tls.wrap(&uri, io).await?) } else { Box::new(io) };
            return Ok(Stream { io, is_proxied: false });
        }
        let io = self.reach(&proxy).await?;
        if !is_tls {
            return Ok(Stream { io, is_proxied: true });
        }
        let tunnel = tokio::time::timeout(self.tls.timeout, tunnel::open(io, &uri, &proxy)).await;
        let io = tunnel.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        let io = io.map_err(|error| ConnectError::Tunnel(proxy.address.to_string(), error))?;
        Ok(Stream { io: Box::new(self.tls.wrap(&uri, io).await?), is_proxied: false })
    }

    /// A connection that a SOCKS5 proxy makes to the host of `uri`, whose address is looked up here if `is_local`. All of it
    /// has the time of one connection.
    async fn through_socks(&mut self, uri: &Uri, proxy: &Proxy, is_local: bool) -> Result<TcpStream, ConnectError> {
        let failed = |error| ConnectError::Socks(proxy.address.to_string(), error);
        let limit = self.tls.timeout;
        let work = async {
            let targets = targets(uri, is_local).await.map_err(failed)?;
            self.ask_socks(proxy, &targets).await
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(failed(SocksError::Timeout)))
    }

    /// The first of `targets` that the proxy reaches.
    async fn ask_socks(&mut self, proxy: &Proxy, targets: &[Target]) -> Result<TcpStream, ConnectError> {
        let failed = |error| ConnectError::Socks(proxy.address.to_string(), error);
        let mut last = SocksError::Lookup(io::ErrorKind::NotFound.into());
        for target in targets {
            // One connection to the proxy is for one request.
            let tcp = self.tcp(proxy.address.clone()).await?;
            match socks5::open(tcp, target, proxy.login.as_ref()).await {
                // It may have no way to this address, and one to the next.
                Err(error) if error.is_about_the_address() => last = error,
                result => return result.map_err(failed),
            }
        }
        Err(failed(last))
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

/// What a SOCKS5 proxy is asked for, in the order in which it is: an address, a name, or what was found here for that.
async fn targets(uri: &Uri, is_local: bool) -> Result<Vec<Target>, SocksError> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![Target::Address((address, port).into())]);
    }
    if !is_local {
        return Ok(vec![Target::Name(host.to_owned(), port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await.map_err(SocksError::Lookup)?;
    Ok(found.take(MAX_ADDRESSES).map(Target::Address).collect())
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn names_are_looked_up_here_or_at_the_proxy_and_addresses_nowhere() {
        let of = async |uri: &str, is_local| targets(&uri.parse().unwrap(), is_local).await.unwrap();
        assert_eq!(of("https://localhost/", false).await, [Target::Name("localhost".to_owned(), 443)]);
        let found = of("http://localhost/", true).await;
        let is_here = |target: &Target| matches!(target, Target::Address(a) if a.ip().is_loopback() && a.port() == 80);
        assert!(!found.is_empty() && found.iter().all(is_here), "{found:?}");
        for is_local in [true, false] {
            let address = Target::Address("[fd00::1]:5000".parse().unwrap());
            assert_eq!(of("http://[fd00::1]:5000/", is_local).await, [address]);
        }
    }

    #[tokio::test]
    async fn of_several_addresses_the_first_that_the_proxy_reaches_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("socks5://{}/", listener.local_addr().unwrap());
        let proxy = Proxy { address: address.parse().unwrap(), authorization: None, login: None };
        let proxied = tokio::spawn(async move {
            let mut asked = Vec::new();
            for code in [4, 0, 1, 3, 5] {
                let (mut client, _) = listener.accept().await.unwrap();
                let (mut greeting, mut request) = ([0; 3], [0; 10]);
                client.read_exact(&mut greeting).await.unwrap();
                client.write_all(&[5, 0]).await.unwrap();
                client.read_exact(&mut request).await.unwrap();
                client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                asked.push(request[7]);
            }
            asked
        });
        let mut connector = Connector::new(&Options::default());
        let targets: Vec<_> = (1..4).map(|n| Target::Address(([10, 0, 0, n], 1).into())).collect();
        connector.ask_socks(&proxy, &targets).await.unwrap();
        // What is not about the address ends it; so does the last address.
        let error = connector.ask_socks(&proxy, &targets).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Socks(_, source) if source.to_string().contains("general")), "{error}");
        let error = connector.ask_socks(&proxy, &targets[1..]).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Socks(_, source) if source.to_string().contains("refused")), "{error}");
        assert_eq!(proxied.await.unwrap(), [1, 2, 1, 2, 3]);
        let error = connector.ask_socks(&proxy, &[]).await.unwrap_err();
        assert!(matches!(error, ConnectError::Socks(_, SocksError::Lookup(_))), "{error}");
    }
}
