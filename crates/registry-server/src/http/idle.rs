// SPDX-License-Identifier: Apache-2.0
//! A stream whose other side must take what is sent to it. That it must say something is for the readers to see to: how
//! long a silence may be depends on what is waited for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes that must be taken in the time that the limits have for a block: fewer are too slow.
const BLOCK: u64 = super::body::BLOCK as u64;

/// A stream that breaks when nothing could be written to it for a time, or too little for too long: one byte now and then
/// would keep a connection, and what is read for it, for ever.
pub(crate) struct IdleLimit<S> {
    stream: S,
    /// How long nothing may be taken.
    idle: Duration,
    /// How long it may take until a block is taken.
    block: Duration,
    /// How long writes may still wait. Waiting costs it, what is taken earns it, up to `block`.
    credit: Duration,
    /// Set while a write waits: since when, and until when it may.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> IdleLimit<S> {
    pub(crate) fn new(stream: S, idle: Duration, block: Duration) -> IdleLimit<S> {
        IdleLimit { stream, idle, block, credit: block, waiting: None }
    }

    /// What came of a write: ready as it is, with so many bytes taken, or waiting until the deadline.
    fn within<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = &written {
            if let Some((since, _)) = self.waiting.take() {
                self.credit = self.credit.saturating_sub(since.elapsed());
            }
            let taken = result.as_ref().map_or(0, bytes) as u64;
            let earned = self.block.mul_f64(taken.min(BLOCK) as f64 / BLOCK as f64);
            self.credit = self.block.min(self.credit + earned);
            return written;
        }
        let patience = self.idle.min(self.credit);
        let (_, deadline) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + patience)))
        });
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for IdleLimit<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for IdleLimit<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.within(cx, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.within(cx, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.within(cx, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within(cx, closed, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const IDLE: Duration = Duration::from_secs(5);
    const BLOCK_TIME: Duration = Duration::from_millis(400);

    /// Sends `size` bytes to a client that takes `step` of them each `pause`; whether it had them all.
    async fn sent(size: usize, step: usize, pause: Duration) -> bool {
        let (ours, mut theirs) = duplex(1024);
        let client = tokio::spawn(async move {
            let mut block = vec![0; step];
            while theirs.read(&mut block).await.is_ok_and(|count| count > 0) {
                tokio::time::sleep(pause).await;
            }
        });
        let mut stream = IdleLimit::new(ours, IDLE, BLOCK_TIME);
        let result = stream.write_all(&vec![0; size]).await;
        client.abort();
        result.is_ok()
    }

    #[tokio::test]
    async fn who_takes_too_little_for_too_long_is_hung_up_on() {
        let begun = Instant::now();
        // Something is taken every few milliseconds, but it would go on for a minute.
        assert!(!sent(1 << 20, 1024, Duration::from_millis(60)).await);
        assert!(begun.elapsed() >= BLOCK_TIME, "{:?}", begun.elapsed());
        assert!(sent(3 << 10, 1024, Duration::from_millis(1)).await, "what is short may take its time");
    }

    #[tokio::test]
    async fn what_is_taken_earns_time() {
        let (ours, mut theirs) = duplex(BLOCK as usize);
        let mut stream = IdleLimit::new(ours, IDLE, Duration::from_secs(2));
        let client = tokio::spawn(async move {
            let mut block = vec![0; BLOCK as usize];
            // Longer in all than the limit is, each block in half of it.
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(700)).await;
                theirs.read_exact(&mut block).await.unwrap();
            }
        });
        let begun = Instant::now();
        stream.write_all(&vec![0; 4 * BLOCK as usize]).await.unwrap();
        assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
        client.await.unwrap();
    }

    #[tokio::test]
    async fn pauses_between_answers_cost_nothing() {
        let (ours, mut theirs) = duplex(1024);
        let mut stream = IdleLimit::new(ours, IDLE, BLOCK_TIME);
        for _ in 0..8 {
            stream.write_all(&[0; 1000]).await.unwrap();
            tokio::time::sleep(BLOCK_TIME / 4).await;
            theirs.read_exact(&mut [0; 1000]).await.unwrap();
        }
    }
}
