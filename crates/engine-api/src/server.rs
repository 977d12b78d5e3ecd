// SPDX-License-Identifier: Apache-2.0
//! Listening on a unix socket and serving its connections.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use engine::Engine;
use errors::{Classify, Kind, kind_of_io};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{routes, version};

/// Owner and group may connect. Whoever may connect is root on this host.
const SOCKET_MODE: u32 = 0o660;
/// How long requests under way may take when the daemon ends.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long accepting pauses when the daemon has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody listens there.
    #[error("a daemon listens on {} already", .0.display())]
    Taken(PathBuf),
    /// The socket cannot be made.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Classify for ListenError {
    fn kind(&self) -> Kind {
        match self {
            ListenError::Taken(_) => Kind::Conflict,
            ListenError::Io { source, .. } => kind_of_io(source),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ListenError::Taken(_) => Some("stop it first, or give this one another -H and --exec-root".into()),
            ListenError::Io { .. } => None,
        }
    }
}

/// Listen on `path`, mode 0660; a socket that a dead daemon left there is replaced.
///
/// # Errors
/// Somebody listens there already, or the socket cannot be made.
pub fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |action| move |source| ListenError::Io { action, path: path.to_owned(), source };
    if StdUnixStream::connect(path).is_ok() {
        return Err(ListenError::Taken(path.to_owned()));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    // Until here the mode has no more rights than this: the umask only takes away, and connecting needs the right to
    // write, which a umask of 022 leaves to the owner alone.
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed("set the mode of"))?;
    Ok(listener)
}

/// Serve `engine` on `listener` until `shutdown` is ready; then no connection is accepted any more, and requests under
/// way have five seconds. Streams to containers end with the process; the containers go on.
pub async fn serve(engine: Arc<Engine>, listener: UnixListener, shutdown: impl Future<Output = ()>) {
    let router = routes::router(Arc::clone(&engine));
    let (ending, ended) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), ended.clone()));
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
    engine.end_events();
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_REQUESTS, all).await.is_err() {
        tracing::warn!("requests were still under way at the end");
    }
}

async fn connection(stream: UnixStream, router: Router, mut ended: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request| answer(service.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
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
