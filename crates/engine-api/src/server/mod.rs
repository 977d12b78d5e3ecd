// SPDX-License-Identifier: Apache-2.0
//! Connections: accepted on every listener, so many at once, and served until the daemon ends.

mod authorization;
mod explained;
mod listener;
mod peer;
mod rest;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use engine::Engine;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use self::authorization::{AuthorizationError, AuthorizationHook};
pub(crate) use self::explained::Explained;
use self::listener::Accepted;
pub use self::listener::{ListenError, Listener, Protection};
use self::peer::Peer;
use self::rest::Rest;
pub use self::tls::{ServerTls, TlsError, TlsFiles};
use crate::error::ApiError;
use crate::{routes, version};

/// How long requests under way may take when the daemon ends.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// How long a client may take to send a request's head, and before it for the handshake of TLS.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 256 << 10;
/// How long accepting pauses when the daemon has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What serves the requests of every connection.
#[derive(Clone)]
struct Server {
    service: TowerToHyperService<Router>,
    hooks: Arc<[AuthorizationHook]>,
}

/// Serve `engine` on `listeners`, as far as `hooks` allow it, until `shutdown` is ready; then no connection is accepted any more, and requests under
/// way have five seconds. Streams to containers end with the process; the containers go on.
pub async fn serve(
    engine: Arc<Engine>,
    listeners: Vec<Listener>,
    hooks: Vec<AuthorizationHook>,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(routes::router(Arc::clone(&engine)));
    let server = Server { service, hooks: hooks.into() };
    let (ending, ended) = watch::channel(false);
    let mut all = JoinSet::new();
    for listener in listeners {
        all.spawn(serve_one(listener, server.clone(), ended.clone()));
    }
    shutdown.await;
    ending.send_replace(true);
    engine.end_events();
    let last = async { while all.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_REQUESTS, last).await.is_err() {
        tracing::warn!("requests were still under way at the end");
    }
}

async fn serve_one(listener: Listener, server: Server, mut ended: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(listener.capacity()));
    let mut connections = JoinSet::new();
    loop {
        // The next connection waits in the kernel's queue until there is a place for it.
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = over(&mut ended) => break,
            (place, accepted) = accept => match accepted {
                Ok(client) => {
                    let (server, ended) = (server.clone(), ended.clone());
                    connections.spawn(async move {
                        greet(client, server, ended).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::error!(%error, %listener, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Only to forget what is over.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Ready when the daemon ends.
async fn over(ended: &mut watch::Receiver<bool>) {
    // The sender gone means the same.
    drop(ended.wait_for(|ended| *ended).await);
}

/// Serves a client that has just connected.
async fn greet(client: Accepted, server: Server, ended: watch::Receiver<bool>) {
    match client {
        Accepted::Unix(stream) => connection(stream, Peer::default(), server, ended).await,
        Accepted::Tcp(stream) => connection(stream, Peer::default(), server, ended).await,
        Accepted::Tls(stream, tls) => {
            let handshake = TlsAcceptor::from(tls.current()).accept(stream);
            match tokio::time::timeout(HEAD_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => {
                    let peer = Peer::of(stream.get_ref().1.peer_certificates().unwrap_or_default());
                    connection(stream, peer, server, ended).await;
                }
                // Somebody without a certificate, or with another authority's.
                Ok(Err(error)) => tracing::info!(%error, "a client was refused"),
                Err(_) => tracing::debug!("a handshake took too long"),
            }
        }
    }
}

async fn connection<S>(stream: S, peer: Peer, server: Server, mut ended: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::new(peer);
    let understood = Arc::new(AtomicBool::new(false));
    let stream = Explained::new(stream, Arc::clone(&understood));
    let service = service_fn(move |request| {
        understood.store(true, Ordering::Relaxed);
        answer(server.clone(), Arc::clone(&peer), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = over(&mut ended) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client may leave whenever it likes.
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
    }
}

/// The answer to a request, its path freed of the API's version.
async fn answer(server: Server, peer: Arc<Peer>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let rest = Rest::default();
    let request = request.map(|body| rest.lend(Body::new(body)));
    let mut response = match authorized(&server, &peer, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        rest.hear();
    }
    version::sign(response.headers_mut());
    Ok(response)
}

/// The same, when the hooks have nothing against request and answer. They see the path as the client wrote it.
async fn authorized(server: &Server, peer: &Peer, mut request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (version, uri) = version::strip(request.method(), request.uri())?;
    let mut asked = None;
    if !server.hooks.is_empty() {
        let path = uri.as_ref().unwrap_or(request.uri()).path().to_owned();
        let (whole, about) = authorization::before(&server.hooks, peer, &path, request).await?;
        (request, asked) = (whole, Some(about));
    }
    if let Some(uri) = uri {
        *request.uri_mut() = uri;
    }
    request.extensions_mut().insert(version);
    let Ok(response) = server.service.call(request).await;
    Ok(match asked {
        Some(about) => authorization::after(&server.hooks, about, response).await,
        None => response,
    })
}
