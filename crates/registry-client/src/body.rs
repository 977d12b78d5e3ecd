// SPDX-License-Identifier: Apache-2.0
//! Bodies of requests: nothing, a document, or a stretch of a blob that is read while it is sent.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::ask::Payload;

/// How much of a blob is read at once, in bytes.
const PIECE: usize = 256 << 10;
/// Pieces that are read ahead of the connection.
const AHEAD: usize = 2;

/// Where the bytes of a pushed blob are. Read at any place and more than once: an upload may have to begin anew.
pub trait Source: Send + Sync + 'static {
    /// Reads bytes from `offset` on into `buffer`, and says how many. May block.
    ///
    /// # Errors
    /// The file's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Source for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

impl Source for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// A stretch of a blob on its way to the registry.
pub(crate) struct Part {
    pub(crate) source: Arc<dyn Source>,
    /// The first byte.
    pub(crate) from: u64,
    /// The byte behind the last one.
    pub(crate) end: u64,
    /// Whether the request says which bytes they are.
    pub(crate) with_range: bool,
    /// The first byte that the connection has not taken yet.
    position: AtomicU64,
    /// Why the source could not be read.
    failure: Mutex<Option<io::Error>>,
}

impl Part {
    pub(crate) fn new(source: Arc<dyn Source>, from: u64, end: u64, with_range: bool) -> Part {
        Part { source, from, end, with_range, position: AtomicU64::new(from), failure: Mutex::default() }
    }

    /// The first byte that the connection has not taken yet.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Why the source could not be read, where that is why the request failed.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads ahead on a thread of its own, for as long as somebody takes what is read.
    fn stream(self: &Arc<Part>) -> mpsc::Receiver<Bytes> {
        self.position.store(self.from, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(AHEAD);
        let part = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let mut at = part.from;
            while at < part.end {
                // Not longer than a piece, so it fits.
                let mut piece = vec![0; (part.end - at).min(PIECE as u64) as usize];
                if let Err(error) = read_exact_at(&*part.source, &mut piece, at) {
                    *part.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
                at += piece.len() as u64;
                if sender.blocking_send(piece.into()).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

fn read_exact_at(source: &dyn Source, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match source.read_at(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The body of one request.
pub(crate) enum RequestBody {
    /// At most one piece.
    Once(Option<Bytes>),
    /// Piece by piece.
    Stream { pieces: mpsc::Receiver<Bytes>, part: Arc<Part> },
}

impl RequestBody {
    pub(crate) fn of(payload: &Payload) -> RequestBody {
        match payload {
            Payload::Empty => RequestBody::Once(None),
            Payload::Document(bytes, _) => RequestBody::Once(Some(bytes.clone())),
            Payload::Part(part) if part.from == part.end => RequestBody::Once(None),
            Payload::Part(part) => RequestBody::Stream { pieces: part.stream(), part: Arc::clone(part) },
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            RequestBody::Once(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            RequestBody::Stream { pieces, part } => pieces.poll_recv(cx).map(|piece| match piece {
                Some(piece) => {
                    part.position.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    Some(Ok(Frame::data(piece)))
                }
                None if part.position() == part.end => None,
                // The reader has left the reason in the part.
                None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Once(bytes) => bytes.is_none(),
            RequestBody::Stream { part, .. } => part.position() == part.end,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            RequestBody::Once(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            RequestBody::Stream { part, .. } => part.end - part.position(),
        })
    }
}
