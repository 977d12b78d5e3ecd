// SPDX-License-Identifier: Apache-2.0
//! A stream of frames after `101 Switching Protocols`: what the user types goes in, what the command writes and how it
//! ends comes out. The frames are the shim's: a byte of kind, three of padding, four of big-endian length, the payload.

use api_types::{CONTAINER_HEADER, Size, TracedStep, WARNING_HEADER};
use bytes::{Bytes, BytesMut};
use errors::Report;
use http::{Method, Response};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::error::ClientError;

/// The kinds of frames.
mod kind {
    pub(super) const STDIN: u8 = 0;
    pub(super) const STDOUT: u8 = 1;
    pub(super) const STDERR: u8 = 2;
    pub(super) const RESIZE: u8 = 17;
    pub(super) const STARTED: u8 = 18;
    pub(super) const EXITED: u8 = 19;
    pub(super) const FAILED: u8 = 20;
    pub(super) const STDIN_EOF: u8 = 21;
    pub(super) const OK: u8 = 22;
    pub(super) const DETACHED: u8 = 23;
}

/// The largest payload, in bytes.
const LARGEST_PAYLOAD: usize = 1 << 20;

/// What happens in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Output.
    Stdout(Bytes),
    /// Error output.
    Stderr(Bytes),
    /// The command was executed.
    Started(Started),
    /// The command ended; nothing follows.
    Exited(Exit),
    /// The command could not be executed; nothing follows.
    Failed(Report),
}

/// That the command runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Started {
    /// The steps up to `execve`, when they were asked for.
    #[serde(default)]
    pub steps: Vec<TracedStep>,
}

/// How the command ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Exit {
    /// Its exit code; 128 + n when signal n killed it.
    pub code: i32,
    /// That the kernel killed it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// The steps up to the recorded exit, when they were asked for.
    #[serde(default)]
    pub steps: Vec<TracedStep>,
}

/// A stream that was just opened.
#[derive(Debug)]
pub struct Session {
    /// The container's id, where the route says it.
    pub container: Option<String>,
    /// What the user should know although it worked.
    pub warnings: Vec<String>,
    /// What the command writes.
    pub reader: SessionReader,
    /// What is sent to the command.
    pub writer: SessionWriter,
}

impl Session {
    pub(crate) async fn upgrade(path: &str, response: Response<Incoming>) -> Result<Session, ClientError> {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let container = response.headers().get(CONTAINER_HEADER).map(text);
        let warnings = response.headers().get_all(WARNING_HEADER).iter().map(text).collect();
        let upgraded = hyper::upgrade::on(response).await.map_err(|source| ClientError::Http {
            method: Method::POST,
            path: path.to_owned(),
            source,
        })?;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        let reader = SessionReader { stream: reader, buffered: BytesMut::new() };
        Ok(Session { container, warnings, reader, writer: SessionWriter { stream: writer } })
    }
}

/// The side of a session that the command writes.
#[derive(Debug)]
pub struct SessionReader {
    stream: ReadHalf<TokioIo<Upgraded>>,
    buffered: BytesMut,
}

impl SessionReader {
    /// What happens next; `None` when the daemon is gone, which after [`Event::Exited`] is how it ends.
    /// May be dropped while waiting: nothing is lost.
    ///
    /// # Errors
    /// The connection broke, or something arrived that is no frame.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            while let Some((kind, payload)) = take_frame(&mut self.buffered)? {
                if let Some(event) = event(kind, payload)? {
                    return Ok(Some(event));
                }
            }
            self.buffered.reserve(64 * 1024);
            if self.stream.read_buf(&mut self.buffered).await.map_err(ClientError::Stream)? == 0 {
                return if self.buffered.is_empty() {
                    Ok(None)
                } else {
                    Err(ClientError::Frame("it ends in the middle".into()))
                };
            }
        }
    }
}

/// The first whole frame that is buffered.
fn take_frame(buffered: &mut BytesMut) -> Result<Option<(u8, Bytes)>, ClientError> {
    let Some((header, rest)) = buffered.split_first_chunk::<8>() else { return Ok(None) };
    let [kind, _, _, _, length @ ..] = *header;
    let length = u32::from_be_bytes(length) as usize;
    if length > LARGEST_PAYLOAD {
        return Err(ClientError::Frame(format!("kind {kind} with {length} bytes")));
    }
    if rest.len() < length {
        return Ok(None);
    }
    let mut frame = buffered.split_to(8 + length);
    Ok(Some((kind, frame.split_off(8).freeze())))
}

fn event(kind: u8, payload: Bytes) -> Result<Option<Event>, ClientError> {
    Ok(Some(match kind {
        kind::STDOUT => Event::Stdout(payload),
        kind::STDERR => Event::Stderr(payload),
        kind::STARTED => Event::Started(parse(&payload)?),
        kind::EXITED => Event::Exited(parse(&payload)?),
        kind::FAILED => Event::Failed(parse(&payload)?),
        kind::OK => return Ok(None),
        other => return Err(ClientError::Frame(format!("kind {other}"))),
    }))
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(payload).map_err(|error| ClientError::Frame(error.to_string()))
}

/// The side of a session that the user writes.
#[derive(Debug)]
pub struct SessionWriter {
    stream: WriteHalf<TokioIo<Upgraded>>,
}

impl SessionWriter {
    async fn send(&mut self, kind: u8, payload: &[u8]) -> Result<(), ClientError> {
        // A payload is at most LARGEST_PAYLOAD, far below what a length can say.
        let length = payload.len() as u32;
        let mut frame = Vec::with_capacity(8 + payload.len());
        frame.extend_from_slice(&[kind, 0, 0, 0]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await.map_err(ClientError::Stream)?;
        self.stream.flush().await.map_err(ClientError::Stream)
    }

    /// What the user typed.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn stdin(&mut self, data: &[u8]) -> Result<(), ClientError> {
        for piece in data.chunks(LARGEST_PAYLOAD) {
            self.send(kind::STDIN, piece).await?;
        }
        Ok(())
    }

    /// Nothing more will be typed.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn stdin_eof(&mut self) -> Result<(), ClientError> {
        self.send(kind::STDIN_EOF, &[]).await
    }

    /// The user's terminal has another size.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn resize(&mut self, size: Size) -> Result<(), ClientError> {
        let size = serde_json::to_vec(&size).map_err(ClientError::Encode)?;
        self.send(kind::RESIZE, &size).await
    }

    /// The user leaves; the command goes on.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn detach(&mut self) -> Result<(), ClientError> {
        self.send(kind::DETACHED, &[]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_only_when_it_is_whole() {
        let exit = br#"{"code":3,"signal":null,"oom_killed":false,"at":"x","pid":7,"steps":[]}"#;
        let mut sent = vec![kind::STDOUT, 0, 0, 0, 0, 0, 0, 1, b'x', kind::EXITED, 0, 0, 0, 0, 0, 0, exit.len() as u8];
        sent.extend_from_slice(exit);
        let mut buffered = BytesMut::new();
        let mut events = Vec::new();
        for byte in sent {
            buffered.extend_from_slice(&[byte]);
            if let Some((kind, payload)) = take_frame(&mut buffered).unwrap() {
                events.extend(event(kind, payload).unwrap());
            }
        }
        let exited = Event::Exited(Exit { code: 3, oom_killed: false, steps: vec![] });
        assert_eq!(events, [Event::Stdout(Bytes::from("x")), exited]);
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_not_waited_for() {
        assert!(take_frame(&mut BytesMut::from(&[1, 0, 0, 0, 0xff, 0, 0, 0][..])).is_err());
        assert!(event(99, Bytes::new()).is_err());
        assert!(event(kind::EXITED, Bytes::from("no json")).is_err());
    }
}
