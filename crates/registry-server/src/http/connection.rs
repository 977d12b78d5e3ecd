// SPDX-License-Identifier: Apache-2.0
//! Connections: so many at once, none that says or takes nothing for long, all ended in order at the end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::answer;
use super::idle::IdleLimit;
use crate::registry::Registry;

/// The longest head of a request, in bytes. Also the block in which bodies come.
const MAX_HEAD: usize = 256 << 10;
/// Headers of a request.
const MAX_HEADERS: usize = 100;
/// How long accepting pauses when the process has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `registry` on `listener` until `shutdown` is ready; then no connection is accepted any more, and requests under
/// way have their time to end.
pub(crate) async fn serve(registry: Arc<Registry>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let limits = registry.options.limits.clone();
    let places = Arc::new(Semaphore::new(limits.connections));
    let tls = registry.options.tls.as_ref().map(|identity| TlsAcceptor::from(Arc::clone(&identity.0)));
    let (ending, ended) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        // The next connection waits in the kernel's queue until there is a place for it.
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            (place, accepted) = accept => match accepted {
                Ok((stream, client)) => {
                    let (registry, tls, ended) = (Arc::clone(&registry), tls.clone(), ended.clone());
                    connections.spawn(async move {
                        registry.metrics.connections.fetch_add(1, Ordering::Relaxed);
                        accepted_from(&registry, tls, stream, client, ended).await;
                        registry.metrics.connections.fetch_sub(1, Ordering::Relaxed);
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Only to forget what is over.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    ending.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.last_requests, all).await.is_err() {
        tracing::warn!("requests were still under way at the end");
    }
}

/// Serves a client that has just connected.
async fn accepted_from(
    registry: &Arc<Registry>,
    tls: Option<TlsAcceptor>,
    stream: TcpStream,
    client: SocketAddr,
    ended: watch::Receiver<bool>,
) {
    // Answers are written whole; waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection is slower than it could be");
    }
    let limits = &registry.options.limits;
    let stream = IdleLimit::new(stream, limits.idle, limits.block);
    match tls {
        None => connection(registry, stream, client, ended).await,
        Some(tls) => match tokio::time::timeout(limits.head, tls.accept(stream)).await {
            Ok(Ok(stream)) => connection(registry, stream, client, ended).await,
            // Somebody who does not speak TLS, or does not trust us.
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        },
    }
}

async fn connection(
    registry: &Arc<Registry>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: SocketAddr,
    mut ended: watch::Receiver<bool>,
) {
    let limits = &registry.options.limits;
    let registry_there = Arc::clone(registry);
    let service = service_fn(move |request| {
        let registry = Arc::clone(&registry_there);
        async move { Ok::<_, Infallible>(answer(&registry, client, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = async { drop(ended.wait_for(|ended| *ended).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client may leave whenever it likes.
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
    }
}
