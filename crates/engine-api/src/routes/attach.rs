// SPDX-License-Identifier: Apache-2.0
//! Docker's attach: a hijacked stream, raw from a terminal, else framed; or a WebSocket, always raw.

use std::io;
use std::sync::Arc;

use api_types::detach_keys::{DetachKeys, NoSuchKey};
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, Response};
use engine::{AttachOptions, Engine, LogOptions, LogStream, Output, Session};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::logs;
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::hijack::{Carrier, Hijack};
use crate::version::Version;
use crate::websocket::{self, Payload};

/// What a terminal's stream is called.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// What a framed stream is called.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// The header that answers a WebSocket's key.
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// The name of a stream to a client of `version`, before 1.42 that of a terminal's.
pub(crate) fn content_type(tty: bool, version: Version) -> &'static str {
    if tty || version.is_before(42) { RAW } else { MULTIPLEXED }
}

pub(crate) async fn attach(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    version: Version,
    parameters: Parameters,
    carrier: Carrier,
) -> Result<Response<HttpBody>, ApiError> {
    let options = AttachOptions {
        stdin: parameters.flag("stdin"),
        stdout: parameters.flag("stdout"),
        stderr: parameters.flag("stderr"),
    };
    carrier.check(options.stdin)?;
    let streams = Streams::open(&engine, &name, options, &parameters).await?;
    let output = if streams.tty { Output::Raw } else { Output::Multiplexed };
    Ok(carrier.carry(content_type(streams.tty, version), move |mut client| {
        let hung_up = client.hung_up();
        streams.copy(client, hung_up, output)
    }))
}

/// `GET /containers/NAME/attach/ws`.
pub(crate) async fn websocket(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    version: Version,
    parameters: Parameters,
    headers: HeaderMap,
    hijack: Hijack,
) -> Result<Response<HttpBody>, ApiError> {
    let accept = websocket::accept(&headers)?;
    // Before 1.42 nobody could choose.
    let all = version.is_before(42);
    let options = AttachOptions {
        stdin: all || parameters.flag("stdin"),
        stdout: all || parameters.flag("stdout"),
        stderr: all || parameters.flag("stderr"),
    };
    let streams = Streams::open(&engine, &name, options, &parameters).await?;
    let payload = if version.is_before(28) { Payload::Text } else { Payload::Binary };
    let mut response = hijack.switch(RAW, move |client| async move {
        let (inside, outside) = tokio::io::duplex(websocket::BUFFER);
        let carried = websocket::carry(client, outside, payload);
        tokio::pin!(carried);
        tokio::select! {
            // The client has left: so does its session.
            result = &mut carried => result,
            result = streams.copy(inside, std::future::pending(), Output::Raw) => result.and(carried.await),
        }
    });
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(ACCEPT, accept);
    Ok(response)
}

/// The keys that leave a session, the usual ones where a client names none.
pub(super) fn detach_keys(text: Option<&str>) -> Result<DetachKeys, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    text.map_or(Ok(DetachKeys::default()), |text| {
        text.parse().map_err(|error: NoSuchKey| ApiError::invalid("detachKeys", error.to_string()))
    })
}

/// What a client that attaches is to hear.
struct Streams {
    /// What the container has written so far.
    before: Option<LogStream>,
    /// What it writes from now on.
    from_now_on: Option<Session>,
    tty: bool,
}

impl Streams {
    /// The session begins before the log is read: nothing is missed, and what is written just then may come twice.
    async fn open(
        engine: &Arc<Engine>,
        name: &str,
        options: AttachOptions,
        parameters: &Parameters,
    ) -> Result<Streams, ApiError> {
        let (logs, stream) = (parameters.flag("logs"), parameters.flag("stream"));
        if !logs && !stream {
            return Err(ApiError::invalid("stream", "neither stream nor logs is set: there is nothing to attach to"));
        }
        let tty = engine.container(name)?.with_record(|record| record.spec.tty);
        let keys = detach_keys(parameters.get("detachKeys"))?;
        let from_now_on = if stream { Some(engine.attach(name, options).await?.left_by(keys)) } else { None };
        let AttachOptions { stdout, stderr, .. } = options;
        let before = match logs && (stdout || stderr) {
            true => Some(engine.logs(name, LogOptions { stdout, stderr, ..LogOptions::default() }).await?),
            false => None,
        };
        Ok(Streams { before, from_now_on, tty })
    }

    async fn copy(
        self,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        hung_up: impl Future<Output = io::Result<()>>,
        output: Output,
    ) -> io::Result<()> {
        if let Some(mut lines) = self.before {
            while let Some(batch) = lines.next().await {
                let batch = batch.map_err(io::Error::other)?;
                client.write_all(&logs::framed(&batch, logs::Shown::default(), output == Output::Raw)).await?;
            }
        }
        match self.from_now_on {
            Some(session) => session.copy_docker(client, hung_up, output).await,
            None => client.shutdown().await,
        }
    }
}
