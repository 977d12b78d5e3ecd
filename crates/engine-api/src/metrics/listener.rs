// SPDX-License-Identifier: Apache-2.0
//! An address of its own for `/metrics` and nothing else: whoever scrapes need not be let to the API.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use engine::Engine;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How many connections are served at once: scrapers are few.
const MOST: usize = 16;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection lasts at most.
const LONGEST: Duration = Duration::from_secs(60);
/// How long accepting pauses when the daemon has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the metrics of `engine` on `listener`, as long as the process lives.
pub async fn serve_metrics(engine: Arc<Engine>, listener: TcpListener) {
    let router = Router::new().route("/metrics", get(super::metrics)).with_state(engine);
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let _place = place;
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD_TIMEOUT)
                        .serve_connection(TokioIo::new(stream), service);
                    match tokio::time::timeout(LONGEST, connection).await {
                        // A client may leave whenever it likes, and asks again on another connection.
                        Ok(Ok(())) | Err(_) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics broke"),
                    }
                });
            }
            Err(error) => {
                tracing::error!(%error, "a connection for metrics cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
