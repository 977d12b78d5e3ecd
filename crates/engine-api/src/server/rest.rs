// SPDX-License-Identifier: Apache-2.0
//! What a client still sends when it is refused. A connection that is closed in the middle of a body has many a client say "broken
//! pipe" instead of reading why: so the rest is heard, as far as its end is near.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// So much is heard, in bytes, and for so long.
const MOST: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the rest of a request's body is when nobody reads it any more.
#[derive(Clone, Default)]
pub(super) struct Rest(Arc<Mutex<Option<Body>>>);

impl Rest {
    /// The body, of which what is not read comes back.
    pub(super) fn lend(&self, body: Body) -> Body {
        if body.is_end_stream() { body } else { Body::new(Lent { body, rest: self.clone() }) }
    }

    /// Reads what has come back and forgets it, beside whatever else is done.
    pub(super) fn hear(self) {
        let Some(mut body) = self.locked().take() else { return };
        let heard = async move {
            let mut left = MOST;
            while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(less) = left.checked_sub(length) else { return };
                left = less;
            }
        };
        // Who has not ended by then is cut off.
        tokio::spawn(tokio::time::timeout(PATIENCE, heard));
    }

    fn locked(&self) -> MutexGuard<'_, Option<Body>> {
        // Each change is one move.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lent {
    body: Body,
    rest: Rest,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            *self.rest.locked() = Some(std::mem::take(&mut self.body));
        }
    }
}
