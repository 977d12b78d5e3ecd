// SPDX-License-Identifier: Apache-2.0
//! Archives in a request's body, read by a thread that may block while they arrive.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::error::ApiError;
use crate::worker;

/// Pieces of the network's size between the connection and the thread.
pub(crate) const QUEUE: usize = 4;
/// How long the rest of a refused archive is read and thrown away, so that its sender can read the answer.
const DRAIN: Duration = Duration::from_secs(10);

/// What `work` makes of the body, which it reads in its own time.
pub(crate) async fn receive<T: Send + 'static, E: Send + 'static>(
    body: Body,
    what: &'static str,
    work: impl FnOnce(Upload) -> Result<T, E> + Send + 'static,
) -> Result<T, ApiError>
where
    ApiError: From<E>,
{
    let (pieces, received) = mpsc::channel(QUEUE);
    let work = worker::run(what, move || work(Upload::new(received)));
    let mut body = body.into_data_stream();
    let (worked, ()) = tokio::join!(work, forward(&mut body, pieces));
    let result = worked.and_then(|worked| Ok(worked?));
    if result.is_err() {
        let drain = async { while body.next().await.is_some_and(|piece| piece.is_ok()) {} };
        // Only for politeness: whoever sends more than fits into this does not get to read why.
        let _ = tokio::time::timeout(DRAIN, drain).await;
    }
    result
}

/// Hand the body on until it ends or nobody reads it any more.
async fn forward(body: &mut BodyDataStream, pieces: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(piece) = body.next().await {
        let broken = piece.is_err();
        if pieces.send(piece.map_err(io::Error::other)).await.is_err() || broken {
            return;
        }
    }
}

/// A body as a blocking reader sees it.
pub(crate) struct Upload {
    received: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Upload {
    /// What comes through `received`, whose end is the archive's.
    pub(crate) fn new(received: mpsc::Receiver<io::Result<Bytes>>) -> Upload {
        Upload { received, piece: Bytes::new() }
    }
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_breaks_off_is_an_error_and_not_its_end() {
        let (sender, received) = mpsc::channel(4);
        sender.try_send(Ok(Bytes::from("abc"))).unwrap();
        sender.try_send(Err(io::Error::other("gone"))).unwrap();
        let mut archive = Upload { received, piece: Bytes::new() };
        let mut two = [0; 2];
        assert_eq!(archive.read(&mut two).unwrap(), 2);
        assert_eq!(archive.read(&mut two).unwrap(), 1);
        assert!(archive.read(&mut two).is_err());
    }
}
