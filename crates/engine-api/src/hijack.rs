// SPDX-License-Identifier: Apache-2.0
//! Routes that stop speaking HTTP: after `101 Switching Protocols` the connection belongs to a session. A client that does not
//! ask for that gets the session's output as an ordinary answer, and has no way to send any input.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Cursor};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use api_types::PROTOCOL;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Interest, ReadBuf, join};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep};
use tokio_rustls::server::TlsStream;

use crate::error::ApiError;
use crate::server::Explained;

/// How long a client may take to read the head before its stream begins all the same.
const HEAD_READ: Duration = Duration::from_millis(100);
/// So much of an answer is on its way at once, in bytes.
const PIECE: usize = 32 << 10;
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(1);

/// The connection of a request that asks to be taken over.
pub(crate) struct Hijack {
    upgrade: OnUpgrade,
    protocol: String,
}

impl Hijack {
    fn of(parts: &mut Parts) -> Option<Hijack> {
        let protocol = protocol(&parts.headers)?;
        Some(Hijack { upgrade: parts.extensions.remove::<OnUpgrade>()?, protocol })
    }
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Hijack {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Hijack, ApiError> {
        Hijack::of(parts).ok_or(ApiError::NoUpgrade)
    }
}

/// The connection of a request that may ask to be taken over.
pub(crate) struct Carrier(Option<Hijack>);

impl Carrier {
    pub(crate) fn of(parts: &mut Parts) -> Carrier {
        Carrier(Hijack::of(parts))
    }

    /// Refuses a session that shall have input where there is no way for it.
    pub(crate) fn check(&self, input: bool) -> Result<(), ApiError> {
        if input && self.0.is_none() { Err(ApiError::NoUpgrade) } else { Ok(()) }
    }

    /// The answer that carries `session`, which speaks what `content_type` says.
    pub(crate) fn carry<F>(
        self,
        content_type: &'static str,
        session: impl FnOnce(Stream) -> F + Send + 'static,
    ) -> Response<Body>
    where
        F: Future<Output = io::Result<()>> + Send,
    {
        match self.0 {
            Some(hijack) => hijack.switch(content_type, session),
            None => answer(content_type, session),
        }
    }
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Carrier {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Carrier, Infallible> {
        Ok(Carrier::of(parts))
    }
}

/// An ordinary answer with what a session says, until it ends or the client has left.
fn answer<F>(content_type: &'static str, session: impl FnOnce(Stream) -> F + Send + 'static) -> Response<Body>
where
    F: Future<Output = io::Result<()>> + Send,
{
    // What is read from `inside` never comes: nothing is written to `outside`.
    let (inside, outside) = tokio::io::duplex(PIECE);
    // Gone with the answer's body: a session that has nothing to say would not notice that nobody hears it.
    let (listens, left) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        tokio::select! {
            result = session(Stream { bytes: Box::new(inside), socket: None }) => ended(&result),
            _ = left => {}
        }
    });
    let pieces = stream::try_unfold((outside, listens), |(mut outside, listens)| async move {
        let mut piece = Vec::with_capacity(PIECE);
        let length = outside.read_buf(&mut piece).await?;
        Ok::<_, io::Error>((length > 0).then(|| (Bytes::from(piece), (outside, listens))))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What the client wants to switch to.
fn protocol(headers: &HeaderMap) -> Option<String> {
    let connection = headers.get(CONNECTION)?.to_str().ok()?;
    let asked = connection.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE)?.to_str().ok()?;
    asked.then(|| protocol.to_owned())
}

impl Hijack {
    /// The answer that hands the connection to `session`; Corten's own routes speak frames and nothing else.
    pub(crate) fn frames<F>(
        self,
        session: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
    ) -> Result<Response<Body>, ApiError>
    where
        F: Future<Output = io::Result<()>> + Send,
    {
        if self.protocol != PROTOCOL {
            return Err(ApiError::invalid("Upgrade", format!("this route speaks {PROTOCOL}")));
        }
        Ok(self.respond("application/vnd.corten.frames", |connection| session(TokioIo::new(connection))))
    }

    /// The answer that hands the connection to `session`, which speaks what `content_type` says, once the client has
    /// read the answer's head.
    pub(crate) fn switch<F>(
        self,
        content_type: &'static str,
        session: impl FnOnce(Stream) -> F + Send + 'static,
    ) -> Response<Body>
    where
        F: Future<Output = io::Result<()>> + Send,
    {
        self.respond(content_type, |connection| async { session(Stream::read_up_to_here(connection).await?).await })
    }

    fn respond<F>(
        self,
        content_type: &'static str,
        session: impl FnOnce(Upgraded) -> F + Send + 'static,
    ) -> Response<Body>
    where
        F: Future<Output = io::Result<()>> + Send,
    {
        let Hijack { upgrade, protocol } = self;
        tokio::spawn(async move {
            ended(&match upgrade.await {
                Ok(connection) => session(connection).await,
                Err(error) => Err(io::Error::other(error)),
            });
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Ok(protocol) = protocol.parse() {
            headers.insert(UPGRADE, protocol);
        }
        response
    }
}

/// A client may leave whenever it likes.
fn ended(session: &io::Result<()>) {
    if let Err(error) = session {
        tracing::debug!(%error, "a session's client is gone");
    }
}

/// A connection that was taken over.
pub(crate) struct Stream {
    /// What the client had sent behind its request, and the rest; or what becomes the body of an answer.
    bytes: Box<dyn Duplex>,
    /// A second descriptor of the connection; `None` for an answer, whose session ends with its body.
    socket: Option<OwnedFd>,
}

/// Bytes in and bytes out.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

impl Stream {
    /// The stream, when the client has read all that it was sent, or has had [`HEAD_READ`] to do so.
    ///
    /// There are clients, docker-py for one, that read the head through a buffer and the stream without it: what comes
    /// together with the head is lost to them. Output comes so soon behind it that it often would.
    async fn read_up_to_here(connection: Upgraded) -> io::Result<Stream> {
        let connection = match connection.downcast::<TokioIo<Explained<UnixStream>>>() {
            Ok(parts) => {
                let socket = parts.io.into_inner().into_inner();
                let deadline = Instant::now() + HEAD_READ;
                // The kernel tells how much is unread, but nobody when it is read.
                while sys::socket::unread(&socket).is_ok_and(|unread| unread > 0) && Instant::now() < deadline {
                    sleep(LOOK).await;
                }
                let second = socket.as_fd().try_clone_to_owned()?;
                let (reader, writer) = socket.into_split();
                let bytes = join(Cursor::new(parts.read_buf).chain(reader), writer);
                return Ok(Stream { bytes: Box::new(bytes), socket: Some(second) });
            }
            Err(connection) => connection,
        };
        let connection = match connection.downcast::<TokioIo<Explained<TcpStream>>>() {
            Ok(parts) => {
                let stream = parts.io.into_inner().into_inner();
                let second = stream.as_fd().try_clone_to_owned()?;
                return Ok(Stream::of(stream, parts.read_buf, second));
            }
            Err(connection) => connection,
        };
        match connection.downcast::<TokioIo<Explained<TlsStream<TcpStream>>>>() {
            Ok(parts) => {
                let stream = parts.io.into_inner().into_inner();
                let second = stream.get_ref().0.as_fd().try_clone_to_owned()?;
                Ok(Stream::of(stream, parts.read_buf, second))
            }
            Err(_) => Err(io::Error::other("a connection of a kind that nobody listens for")),
        }
    }

    fn of(stream: impl Duplex + 'static, early: Bytes, socket: OwnedFd) -> Stream {
        let (reader, writer) = tokio::io::split(stream);
        Stream { bytes: Box::new(join(Cursor::new(early).chain(reader), writer)), socket: Some(socket) }
    }

    /// Ready when the client has hung up. One that has only ended its input may still listen, and cannot be told by reading
    /// from one that is gone; the kernel knows. Over TCP it learns that from the next thing it sends: output, or a probe.
    pub(crate) fn hung_up(&mut self) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let socket = self.socket.take();
        async move {
            let Some(socket) = socket else { return std::future::pending().await };
            // Nothing is asked for but what is always told. The descriptor is not the stream's, so what is noted here of
            // its state holds up no reading or writing.
            #[expect(
                deprecated,
                reason = "unsound only for what may give another descriptor each time; an OwnedFd keeps its own"
            )]
            let socket = AsyncFd::with_interest(socket, Interest::ERROR)?;
            loop {
                let mut guard = socket.ready(Interest::WRITABLE).await?;
                if guard.ready().is_write_closed() {
                    return Ok(());
                }
                guard.clear_ready();
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().bytes).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().bytes).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().bytes).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().bytes).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_sent_before_the_head_is_read() {
        use tokio::io::AsyncWriteExt as _;
        let (server, client) = std::os::unix::net::UnixStream::pair().unwrap();
        for end in [&server, &client] {
            end.set_nonblocking(true).unwrap();
        }
        let (server, mut client) = (UnixStream::from_std(server).unwrap(), UnixStream::from_std(client).unwrap());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|mut request: hyper::Request<hyper::body::Incoming>| async move {
                let upgrade = hyper::upgrade::on(&mut request);
                let hijack = Hijack { upgrade, protocol: "tcp".to_owned() };
                let answer = hijack.switch("text/plain", |mut stream| async move {
                    let mut early = [0; 5];
                    stream.read_exact(&mut early).await?;
                    stream.write_all(&early).await?;
                    stream.shutdown().await
                });
                Ok::<_, Infallible>(answer)
            });
            let server = Explained::new(server, std::sync::Arc::new(true.into()));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
            connection.with_upgrades().await
        });
        // What is sent right behind the request is not lost either.
        let request = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly";
        client.write_all(request).await.unwrap();
        let mut head = [0; 4096];
        let length = client.read(&mut head).await.unwrap();
        assert!(head[..length].starts_with(b"HTTP/1.1 101") && head[..length].ends_with(b"\r\n\r\n"));
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "early");
    }

    #[tokio::test]
    async fn a_session_without_a_reader_ends_although_it_says_nothing() {
        let (guard, ended) = tokio::sync::oneshot::channel::<()>();
        let response = answer("text/plain", |stream| async move {
            let _held = (guard, stream);
            std::future::pending().await
        });
        drop(response);
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        assert!(ended.expect("it ends").is_err(), "its guard is gone");
    }

    #[test]
    fn an_upgrade_must_be_asked_for_in_both_headers() {
        let headers = |list: &[(&'static str, &'static str)]| {
            list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
        };
        let asked = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "tcp")]);
        assert_eq!(protocol(&asked).as_deref(), Some("tcp"));
        assert_eq!(protocol(&headers(&[("upgrade", "tcp")])), None);
        assert_eq!(protocol(&headers(&[("connection", "Upgrade")])), None);
    }
}
