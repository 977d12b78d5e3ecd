// SPDX-License-Identifier: Apache-2.0
//! Bodies: those that are sent, from memory or from a file, and those that come, with limits on how long and how much.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::blocks::Blocks;
use crate::error::ApiError;
use crate::registry::Registry;

/// Bytes gathered of a request before they are written.
pub(crate) const BLOCK: usize = 256 << 10;
/// The longest body that may come whole without waiting for room, in bytes. Nearly all manifests are shorter.
const SHORT: usize = 64 << 10;
/// Bytes of longer bodies that may be in memory at once.
pub(crate) const ROOM: usize = 64 << 20;

/// What is sent.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing, or what is in memory.
    Memory(Option<Bytes>),
    /// A part of a file.
    File(FileBody),
    /// What comes from elsewhere.
    Chunks {
        /// The next bytes.
        chunks: mpsc::Receiver<io::Result<Bytes>>,
        /// How many are still to come.
        owed: u64,
    },
}

/// A part of a file on its way: the next block is read while the last is sent.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: Arc<File>,
    left: Range<u64>,
    /// The block being read.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    /// Bytes not yet handed out.
    owed: u64,
    blocks: Blocks,
}

impl FileBody {
    /// The bytes `part` of `file`, read into some of `blocks`.
    pub(crate) fn new(file: File, part: Range<u64>, blocks: &Blocks) -> FileBody {
        let owed = part.end - part.start;
        FileBody { file: file.into(), left: part, reading: None, owed, blocks: blocks.clone() }
    }

    /// Begins to read the next block, unless one is being read or there is none.
    fn read_on(&mut self) {
        if self.reading.is_some() || self.left.is_empty() {
            return;
        }
        let start = self.left.start;
        let mut lent = self.blocks.lend(self.left.end - start);
        self.left.start += lent.size() as u64;
        let file = Arc::clone(&self.file);
        self.reading = Some(tokio::task::spawn_blocking(move || {
            file.read_exact_at(lent.bytes(), start)?;
            Ok(Bytes::from_owner(lent))
        }));
    }

    fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.read_on();
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let result = std::task::ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let block = result.map_err(io::Error::other).and_then(|result| result);
        if let Ok(block) = &block {
            self.owed -= block.len() as u64;
            self.read_on();
        }
        Poll::Ready(Some(block))
    }
}

impl Body {
    /// Nothing.
    pub(crate) fn empty() -> Body {
        Body::Memory(None)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Memory(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Body::Memory(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::File(file) => file.poll_block(cx).map(|block| block.map(|block| block.map(Frame::data))),
            Body::Chunks { chunks, owed } => chunks.poll_recv(cx).map(|chunk| {
                let chunk = chunk?;
                if let Ok(chunk) = &chunk {
                    *owed = owed.saturating_sub(chunk.len() as u64);
                }
                Some(chunk.map(Frame::data))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Memory(bytes) => bytes.is_none(),
            Body::File(file) => file.owed == 0,
            Body::Chunks { owed, .. } => *owed == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Body::Memory(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Body::File(file) => file.owed,
            Body::Chunks { owed, .. } => *owed,
        })
    }
}

/// The next bytes of a request's body, gathered to blocks; `None` at its end.
pub(crate) async fn next_block(body: &mut Incoming, registry: &Registry) -> Result<Option<Bytes>, ApiError> {
    let deadline = Instant::now() + registry.options.limits.block;
    let mut gathered = BytesMut::new();
    while gathered.len() < BLOCK {
        let Some(frame) = next_frame(body, registry, deadline).await? else { break };
        if gathered.is_empty() && frame.len() >= BLOCK {
            return Ok(Some(frame));
        }
        if gathered.capacity() == 0 {
            // At once, rather than moved again and again while it grows.
            gathered.reserve(BLOCK + frame.len());
        }
        gathered.extend_from_slice(&frame);
    }
    Ok((!gathered.is_empty()).then(|| gathered.freeze()))
}

/// A body in memory. The room that it takes is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// A whole body of at most `max` bytes. Short ones are read at once; long ones wait for room, so that many together do not
/// fill the memory.
pub(crate) async fn read_whole(
    body: &mut Incoming,
    max: usize,
    registry: &Registry,
) -> Result<Option<Whole>, ApiError> {
    if body.size_hint().lower() > max as u64 {
        return Ok(None);
    }
    let deadline = Instant::now() + registry.options.limits.block;
    let (mut gathered, mut room) = (BytesMut::new(), None);
    while let Some(frame) = next_frame(body, registry, deadline).await? {
        let length = gathered.len() + frame.len();
        if length > max {
            return Ok(None);
        }
        if length > SHORT && room.is_none() {
            // What it may still become; at most `max`, which fits.
            let most = body.size_hint().upper().map_or(max, |left| max.min(length + left as usize));
            let wanted = Arc::clone(&registry.room).acquire_many_owned(most as u32);
            let taken = tokio::time::timeout(registry.options.limits.idle, wanted).await;
            room = Some(taken.map_err(|_| ApiError::NoRoom)?.map_err(|_| ApiError::Worker)?);
        }
        gathered.extend_from_slice(&frame);
    }
    Ok(Some(Whole { bytes: gathered.freeze(), _room: room }))
}

async fn next_frame(body: &mut Incoming, registry: &Registry, deadline: Instant) -> Result<Option<Bytes>, ApiError> {
    loop {
        let until = deadline.min(Instant::now() + registry.options.limits.idle);
        match tokio::time::timeout_at(until, body.frame()).await {
            Err(_) => return Err(ApiError::Silent),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(ApiError::Broken(error)),
            // Trailers are no content.
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if !data.is_empty() => {
                    registry.metrics.received.fetch_add(data.len() as u64, Ordering::Relaxed);
                    return Ok(Some(data));
                }
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::blocks::LARGE;
    use super::*;

    #[tokio::test]
    async fn files_are_sent_whole_in_memory_that_is_used_again() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..5 * LARGE + 77).map(|at| ((at * at) >> 7) as u8).collect();
        file.write_all(&content).unwrap();
        let part = 13..content.len() as u64 - 5;
        let blocks = Blocks::default();
        for _ in 0..10 {
            let mut body = FileBody::new(file.try_clone().unwrap(), part.clone(), &blocks);
            let mut sent = Vec::new();
            while let Some(block) = std::future::poll_fn(|cx| body.poll_block(cx)).await {
                sent.extend_from_slice(&block.unwrap());
            }
            assert!(sent == content[13..part.end as usize]);
            assert_eq!(body.owed, 0);
        }
        assert!((1..=3).contains(&blocks.kept()), "sixty blocks were sent from {}", blocks.kept());
    }

    #[tokio::test]
    async fn many_files_are_sent_at_once() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..2 * LARGE + 9).map(|at| (at >> 9) as u8).collect();
        file.write_all(&content).unwrap();
        let blocks = Blocks::default();
        let mut bodies: Vec<(FileBody, Vec<Bytes>)> = (0..100)
            .map(|_| (FileBody::new(file.try_clone().unwrap(), 0..content.len() as u64, &blocks), Vec::new()))
            .collect();
        let mut left = bodies.len();
        while left > 0 {
            left = 0;
            for (body, sent) in &mut bodies {
                if let Some(block) = std::future::poll_fn(|cx| body.poll_block(cx)).await {
                    sent.push(block.unwrap());
                    left += 1;
                }
            }
        }
        for (_, sent) in bodies {
            assert!(sent.concat() == content);
        }
    }
}
