// SPDX-License-Identifier: Apache-2.0
//! A connection whose client is told why its request is not understood.
//!
//! What is no HTTP, or has an address that cannot be one, reaches no route: hyper answers it by itself, with a status and
//! nothing else, and hangs up. As long as no request was understood whatever is written can only be that answer, and
//! another one goes out in its place.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use api_types::{API_VERSION, ErrorBody};
use errors::{Kind, Report};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The stream of such a connection.
pub(crate) struct Explained<S> {
    stream: S,
    /// Whether a request has reached the routes.
    understood: Arc<AtomicBool>,
    /// What stands for hyper's answer, and how much of it is written.
    answer: Option<(Vec<u8>, usize)>,
}

impl<S> Explained<S> {
    /// `understood` is to be set when the first request is there.
    pub(crate) fn new(stream: S, understood: Arc<AtomicBool>) -> Explained<S> {
        Explained { stream, understood, answer: None }
    }

    /// The stream itself, of a connection on which a request was understood.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncWrite + Unpin> Explained<S> {
    fn send_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((text, sent)) = self.answer.as_mut().filter(|(text, sent)| *sent < text.len()) {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &text[*sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => *sent += length,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The answer that is told, in place of the one whose head begins so.
fn answer(head: &[u8]) -> Vec<u8> {
    let head = String::from_utf8_lossy(head);
    let status =
        head.lines().next().and_then(|line| line.split_once(' ')).map_or("400 Bad Request", |(_, status)| status);
    let problem = match status.split(' ').next() {
        Some("414") => "the request's address is too long",
        Some("431") => "the request's head is too long",
        _ => {
            "the request is not understood: its head is no HTTP, or its address has a character that must be \
             percent-encoded, as quotes and spaces must"
        }
    };
    // A struct of texts always becomes JSON.
    let body = serde_json::to_string(&ErrorBody::from(Report::new(Kind::InvalidArgument, problem))).unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nApi-Version: {API_VERSION}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.understood.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        // The rest of the other answer's head counts as written, too.
        self.answer.get_or_insert_with(|| (answer(bytes), 0));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.understood.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        }
        let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        self.poll_write(context, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_answer(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_answer(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn sent(understood: bool, written: &[&[u8]]) -> String {
        let (inside, mut outside) = tokio::io::duplex(1 << 12);
        let mut explained = Explained::new(inside, Arc::new(AtomicBool::new(understood)));
        for bytes in written {
            explained.write_all(bytes).await.unwrap();
        }
        explained.shutdown().await.unwrap();
        let mut text = String::new();
        outside.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn only_an_answer_before_any_request_is_exchanged() {
        let head: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n";
        assert_eq!(sent(true, &[head, b"\r\n"]).await.as_bytes(), [head, b"\r\n"].concat());
        let told = sent(false, &[head, b"\r\n"]).await;
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(body["message"].as_str().unwrap().contains("percent-encoded"), "{body}");
        assert!(sent(false, &[b"HTTP/1.1 431 Too Large\r\n\r\n"]).await.contains("head is too long"));
    }
}
