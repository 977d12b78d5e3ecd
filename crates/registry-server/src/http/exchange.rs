// SPDX-License-Identifier: Apache-2.0
//! A request and its answer, watched from outside: counted when the answer begins, logged when it is at its end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use jiff::Timestamp;
use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::body::Body;
use crate::access_log::Line;
use crate::registry::Registry;

/// The longest method, path, user and agent that are logged, in characters.
const MOST_LOGGED: usize = 512;

/// What is known of a request from its head.
pub(crate) struct Exchange {
    registry: Arc<Registry>,
    begun: Instant,
    time: Timestamp,
    /// Who asks.
    pub(crate) client: SocketAddr,
    method: Method,
    path: String,
    agent: Option<String>,
    /// The user, once it is known.
    pub(crate) user: Option<String>,
    /// What kind of thing was asked for.
    pub(crate) route: &'static str,
    status: StatusCode,
    sent: u64,
}

impl Exchange {
    pub(crate) fn begin(registry: &Arc<Registry>, client: SocketAddr, request: &Request<Incoming>) -> Exchange {
        let is_logged = registry.options.access_log.is_some();
        let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        Exchange {
            registry: Arc::clone(registry),
            begun: Instant::now(),
            time: Timestamp::now(),
            client,
            method: request.method().clone(),
            path: if is_logged { logged(request.uri().path()) } else { String::new() },
            agent: agent.filter(|_| is_logged).map(logged),
            user: None,
            route: "none",
            status: StatusCode::OK,
            sent: 0,
        }
    }

    /// The answer, which is logged at its end.
    pub(crate) fn answer(mut self, response: Response<Body>) -> Response<Watched> {
        self.status = response.status();
        self.registry.metrics.count(self.route, &self.method, self.status, self.begun.elapsed());
        response.map(|body| Watched { body, exchange: self })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.registry.metrics.sent.fetch_add(self.sent, Ordering::Relaxed);
        if let Some(log) = &self.registry.options.access_log {
            log.write(&Line {
                time: self.time.to_string(),
                client: self.client.to_string(),
                user: self.user.as_deref().map(logged).as_deref(),
                method: &logged(self.method.as_str()),
                path: &self.path,
                status: self.status.as_u16(),
                sent: self.sent,
                // To the microsecond, without the digits that a division makes up.
                milliseconds: self.begun.elapsed().as_micros() as f64 / 1000.0,
                agent: self.agent.as_deref(),
            });
        }
    }
}

/// What a client says, as it is logged: no longer than it may be, and without characters that move a terminal's cursor
/// or turn its writing around. They are written as an address has them: byte by byte, in hexadecimal.
fn logged(text: &str) -> String {
    let end = text.char_indices().nth(MOST_LOGGED).map_or(text.len(), |(end, _)| end);
    utf8_percent_encode(&text[..end], CONTROLS).to_string()
}

/// An answer's body that is watched.
pub(crate) struct Watched {
    body: Body,
    exchange: Exchange,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.exchange.sent += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
