// SPDX-License-Identifier: Apache-2.0
//! Connections: accepted on every listener, so many at once, and served until the daemon ends.

mod listener;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
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

use self::listener::Accepted;
pub use self::listener::{ListenError, Listener, Protection};
pub use self::tls::{ServerTls, TlsError, TlsFiles};
use crate::{routes, version};

/// How long requests under way may take when the daemon ends.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// How long a client may take to send a request's head, and before it for the handshake of TLS.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 256 << 10;
/// How long accepting pauses when the daemon has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serve `engine` on `listeners` until `shutdown` is ready; then no connection is accepted any more, and requests under
/// way have five seconds. Streams to containers end with the process; the containers go on.
pub async fn serve(engine: Arc<Engine>, listeners: Vec<Listener>, shutdown: impl Future<Output = ()>) {
    let router = routes::router(Arc::clone(&engine));
    let (ending, ended) = watch::channel(false);
    let mut all = JoinSet::new();
    for listener in listeners {
        all.spawn(serve_one(listener, router.clone(), ended.clone()));
    }
    shutdown.await;
    ending.send_replace(true);
    engine.end_events();
    let last = async { while all.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_REQUESTS, last).await.is_err() {
        tracing::warn!("requests were still under way at the end");
    }
}

async fn serve_one(listener: Listener, router: Router, mut ended: watch::Receiver<bool>) {
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
                    let (router, ended) = (router.clone(), ended.clone());
                    connections.spawn(async move {
                        greet(client, router, ended).await;
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
async fn greet(client: Accepted, router: Router, ended: watch::Receiver<bool>) {
    match client {
        Accepted::Unix(stream) => connection(stream, router, ended).await,
        Accepted::Tcp(stream) => connection(stream, router, ended).await,
        Accepted::Tls(stream, tls) => {
            let handshake = TlsAcceptor::from(tls.current()).accept(stream);
            match tokio::time::timeout(HEAD_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => connection(stream, router, ended).await,
                // Somebody without a certificate, or with another authority's.
                Ok(Err(error)) => tracing::info!(%error, "a client was refused"),
                Err(_) => tracing::debug!("a handshake took too long"),
            }
        }
    }
}

async fn connection<S>(stream: S, router: Router, mut ended: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request| answer(service.clone(), request));
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
async fn answer(
    service: TowerToHyperService<Router>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut response = match version::strip(request.method(), request.uri()) {
        Err(error) => error.into_response(),
        Ok((version, uri)) => {
            if let Some(uri) = uri {
                *request.uri_mut() = uri;
            }
            request.extensions_mut().insert(version);
            service.call(request).await?
        }
    };
    version::sign(response.headers_mut());
    Ok(response)
}
