// SPDX-License-Identifier: Apache-2.0
//! Bodies of requests: nothing, JSON, or a stream that a thread feeds from a file.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 128 * 1024;

/// The body of a request.
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// All of it, at once.
    Full(Option<Bytes>),
    /// Piece by piece.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

impl RequestBody {
    /// The JSON of `value`.
    pub(crate) fn json(value: &impl serde::Serialize) -> serde_json::Result<RequestBody> {
        Ok(RequestBody::Full(Some(serde_json::to_vec(value)?.into())))
    }

    /// What `reader` gives, read by a thread of its own: files cannot be waited for.
    pub(crate) fn reader(mut reader: impl Read + Send + 'static) -> RequestBody {
        let (sender, receiver) = mpsc::channel(4);
        std::thread::spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK];
                let piece = match reader.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(length) => {
                        chunk.truncate(length);
                        Ok(chunk.into())
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = piece.is_err();
                // The request is over when nobody receives any more.
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        RequestBody::Stream(receiver)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            RequestBody::Stream(receiver) => {
                receiver.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, RequestBody::Empty | RequestBody::Full(None))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            RequestBody::Empty | RequestBody::Full(None) => hyper::body::SizeHint::with_exact(0),
            RequestBody::Full(Some(bytes)) => hyper::body::SizeHint::with_exact(bytes.len() as u64),
            RequestBody::Stream(_) => hyper::body::SizeHint::default(),
        }
    }
}
