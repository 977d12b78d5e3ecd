// SPDX-License-Identifier: Apache-2.0
//! One HTTP exchange: connect, ask, and turn an error's body back into the error.

use std::io;
use std::path::Path;
use std::time::Duration;

use api_types::{ErrorBody, PROTOCOL};
use bytes::Bytes;
use errors::{Kind, Report};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::address::Address;
use crate::autostart;
use crate::body::RequestBody;
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::session::Session;
use crate::{ssh, tls};

/// How long it may take until a daemon elsewhere is reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a daemon, over whatever leads there.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A daemon to talk to. Each request has its own connection: on a unix socket that costs about 25 µs.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
}

impl Client {
    /// A client of the daemon at `endpoint`; nothing is connected yet.
    pub fn new(endpoint: Endpoint) -> Client {
        Client { endpoint }
    }

    /// The daemon that is talked to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A connection to the daemon, on which nothing was said yet.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        match &self.endpoint.address {
            Address::Unix(socket) => Ok(Box::new(self.connect_to_socket(socket).await?)),
            Address::Tcp(address) => {
                let stream = self.connect_over_tcp(&address.authority(self.endpoint.tls.is_some())).await?;
                let Some(tls) = &self.endpoint.tls else { return Ok(Box::new(stream)) };
                let handshake = tokio::time::timeout(CONNECT_TIMEOUT, tls::connect(tls, &address.host, stream));
                Ok(Box::new(handshake.await.map_err(|_| self.unreachable(io::ErrorKind::TimedOut.into()))??))
            }
            Address::Ssh(address) => {
                let stream = ssh::connect(address, self.endpoint.remote_program);
                let failed = |source| ClientError::Ssh { address: self.endpoint.address.clone(), source };
                Ok(Box::new(stream.map_err(failed)?))
            }
            // An endpoint has no such address; see `Endpoint::resolve`.
            Address::Inherited => Err(self.unreachable(io::ErrorKind::Unsupported.into())),
        }
    }

    async fn connect_to_socket(&self, socket: &Path) -> Result<UnixStream, ClientError> {
        let refused = match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let nobody = matches!(refused.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        if let (true, Some(roots)) = (nobody, &self.endpoint.start) {
            autostart::start(socket, roots)?;
            return UnixStream::connect(socket).await.map_err(|source| self.unreachable(source));
        }
        Err(self.unreachable(refused))
    }

    async fn connect_over_tcp(&self, authority: &str) -> Result<TcpStream, ClientError> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(authority)).await;
        let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|source| self.unreachable(source))?;
        // What a user types goes out at once.
        stream.set_nodelay(true).map_err(|source| self.unreachable(source))?;
        Ok(stream)
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let as_docker = self.endpoint.stands_in_for_docker();
        ClientError::Connect { address: self.endpoint.address.clone(), as_docker, source }
    }

    /// How an exchange broke: of a daemon elsewhere the way to it is the first suspect.
    fn broken(&self, method: &Method, path: &str, source: hyper::Error) -> ClientError {
        match &self.endpoint.address {
            Address::Unix(_) => ClientError::Http { method: method.clone(), path: path.to_owned(), source },
            address => ClientError::Broken { address: address.clone(), source },
        }
    }

    /// The answer to a request, whatever its status. `auth` says who is to ask a registry for it.
    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: RequestBody,
        upgrade: bool,
        auth: Option<&str>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method.clone()).uri(path).header(header::HOST, "corten");
        if matches!(body, RequestBody::Full(_)) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(auth) = auth {
            request = request.header("x-registry-auth", auth);
        }
        if upgrade {
            request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, PROTOCOL);
        }
        let request = request.body(body).map_err(|source| ClientError::Path { path: path.to_owned(), source })?;

        let broken = |source| self.broken(method, path, source);
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(broken)?;
        // An error of the connection is an error of the exchange on it, and told there.
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        sender.send_request(request).await.map_err(broken)
    }

    /// The answer to a request, when it is a success.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
    ) -> Result<Response<Incoming>, ClientError> {
        self.send_for(method, path, body, None).await
    }

    /// The same for somebody whom registries know by `auth`, the value of an `X-Registry-Auth` header.
    pub(crate) async fn send_for(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
        auth: Option<&str>,
    ) -> Result<Response<Incoming>, ClientError> {
        let response = self.exchange(&method, path, body, false, auth).await?;
        if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        Err(refusal(&method, path, response).await)
    }

    /// The JSON that answers a request.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
    ) -> Result<T, ClientError> {
        let response = self.send(method.clone(), path, body).await?;
        decode(&method, path, response).await
    }

    /// The bytes that answer a request.
    pub(crate) async fn bytes(&self, method: Method, path: &str) -> Result<Bytes, ClientError> {
        let response = self.send(method.clone(), path, RequestBody::Empty).await?;
        collect(&method, path, response).await
    }

    /// The stream, or the response, that answers a request to stream.
    pub(crate) async fn stream(&self, path: &str, body: RequestBody) -> Result<Session, ClientError> {
        let method = Method::POST;
        let response = self.exchange(&method, path, body, true, None).await?;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Session::upgrade(path, response).await;
        }
        if status.is_success() {
            return Err(ClientError::NotUpgraded { path: path.to_owned(), status: status.as_u16() });
        }
        Err(refusal(&method, path, response).await)
    }
}

/// All of an answer's body.
async fn collect(method: &Method, path: &str, response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = response.into_body().collect().await;
    let broken = |source| ClientError::Http { method: method.clone(), path: path.to_owned(), source };
    Ok(body.map_err(broken)?.to_bytes())
}

/// An answer's body as JSON.
pub(crate) async fn decode<T: DeserializeOwned>(
    method: &Method,
    path: &str,
    response: Response<Incoming>,
) -> Result<T, ClientError> {
    let bytes = collect(method, path, response).await?;
    serde_json::from_slice(&bytes).map_err(|source| ClientError::Malformed {
        method: method.clone(),
        path: path.to_owned(),
        source,
    })
}

/// The error that an unsuccessful answer is.
async fn refusal(method: &Method, path: &str, response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let bytes = match collect(method, path, response).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    let says = |text: String| ErrorBody { message: text, kind: None, hint: None }.into_report(status.as_u16());
    ClientError::Answered(match serde_json::from_slice::<ErrorBody>(&bytes) {
        // Corten's own says of each error of which kind it is.
        Ok(body) if status == StatusCode::NOT_FOUND && body.kind.is_none() && path.starts_with("/corten/") => {
            return ClientError::NotOurs { method: method.clone(), path: path.to_owned() };
        }
        Ok(body) => body.into_report(status.as_u16()),
        // What is asked for its head alone is answered without a body.
        Err(_) if *method == Method::HEAD => says(format!("{method} {path}: the daemon answered {status}")),
        // Not even JSON: perhaps a proxy, or another service.
        Err(_) => Report::new(Kind::Internal, format!("{method} {path}: the daemon answered {status}"))
            .with_hint("is it another program that listens there? `corten version` says what it is"),
    })
}
