// SPDX-License-Identifier: Apache-2.0
//! Archives as an answer's body, written by a thread that may block while they are sent.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use errors::Classify;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::worker;

/// Pieces (some hundred kilobytes at most) between the thread and the connection.
const QUEUE: usize = 4;

/// An answer whose body is what `work` writes. Where that fails, or panics, the answer is broken off: its status was
/// sent long before, and the daemon's log says why.
pub(crate) fn send<E: Classify + Send + 'static>(
    what: &'static str,
    work: impl FnOnce(Download) -> Result<(), E> + Send + 'static,
) -> Response {
    let (pieces, received) = mpsc::channel(QUEUE);
    let ended = pieces.clone();
    let worked = worker::run(what, move || work(Download { pieces }));
    tokio::spawn(async move {
        let problem = match worked.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => errors::chain(&error),
            Err(error) => errors::chain(&error),
        };
        // A client that has left is no failure of ours.
        if ended.send(Err(io::Error::other("the archive is cut off"))).await.is_ok() {
            tracing::error!(error = problem, what, "an answer was broken off");
        }
    });
    let body = stream::unfold(received, |mut received| async move { Some((received.recv().await?, received)) });
    ([(CONTENT_TYPE, "application/x-tar")], Body::from_stream(body)).into_response()
}

/// The body, to be written to. An error means that nobody reads it any more.
pub(crate) struct Download {
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Download {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.pieces.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
