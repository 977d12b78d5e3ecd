// SPDX-License-Identifier: Apache-2.0
//! A stream of frames after `101 Switching Protocols`: what the user types goes in, what the command writes and how it
//! ends comes out. The frames are the shim's.

use api_types::{CONTAINER_HEADER, Size, TracedStep, WARNING_HEADER};
use bytes::{Bytes, BytesMut};
use errors::Report;
use http::{Method, Response};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shim::frame::{FrameError, HEADER_LEN, Header, Kind, MAX_PAYLOAD};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::error::ClientError;

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
                    Err(ClientError::Frame(FrameError::Truncated))
                };
            }
        }
    }
}

/// The first whole frame that is buffered.
fn take_frame(buffered: &mut BytesMut) -> Result<Option<(Kind, Bytes)>, ClientError> {
    let Some((header, rest)) = buffered.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let header = Header::decode(*header).map_err(ClientError::Frame)?;
    let length = header.len as usize;
    if rest.len() < length {
        return Ok(None);
    }
    let mut frame = buffered.split_to(HEADER_LEN + length);
    Ok(Some((header.kind, frame.split_off(HEADER_LEN).freeze())))
}

fn event(kind: Kind, payload: Bytes) -> Result<Option<Event>, ClientError> {
    Ok(Some(match kind {
        Kind::Stdout => Event::Stdout(payload),
        Kind::Stderr => Event::Stderr(payload),
        Kind::Started => Event::Started(parse(&payload)?),
        Kind::Exited => Event::Exited(parse(&payload)?),
        Kind::Failed => Event::Failed(parse(&payload)?),
        Kind::Ok => return Ok(None),
        other => return Err(ClientError::UnexpectedFrame(other)),
    }))
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(payload).map_err(ClientError::Message)
}

/// The side of a session that the user writes.
#[derive(Debug)]
pub struct SessionWriter {
    stream: WriteHalf<TokioIo<Upgraded>>,
}

impl SessionWriter {
    async fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), ClientError> {
        let header = Header::new(kind, payload.len()).map_err(ClientError::Frame)?;
        let mut frame = Vec::with_capacity(HEADER_LEN + payload.len());
        frame.extend_from_slice(&header.encode());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await.map_err(ClientError::Stream)?;
        self.stream.flush().await.map_err(ClientError::Stream)
    }

    /// What the user typed.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn stdin(&mut self, data: &[u8]) -> Result<(), ClientError> {
        for piece in data.chunks(MAX_PAYLOAD) {
            self.send(Kind::Stdin, piece).await?;
        }
        Ok(())
    }

    /// Nothing more will be typed.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn stdin_eof(&mut self) -> Result<(), ClientError> {
        self.send(Kind::StdinEof, &[]).await
    }

    /// The user's terminal has another size.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn resize(&mut self, size: Size) -> Result<(), ClientError> {
        let size = serde_json::to_vec(&size).map_err(ClientError::Encode)?;
        self.send(Kind::Resize, &size).await
    }

    /// The user leaves; the command goes on.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn detach(&mut self) -> Result<(), ClientError> {
        self.send(Kind::Detached, &[]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_only_when_it_is_whole() {
        let exit = br#"{"code":3,"signal":null,"oom_killed":false,"at":"x","pid":7,"steps":[]}"#;
        let header = |kind, length| Header::new(kind, length).unwrap().encode();
        let sent = [&header(Kind::Stdout, 1)[..], b"x", &header(Kind::Exited, exit.len()), exit].concat();
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
        assert!(take_frame(&mut BytesMut::from(&[99, 0, 0, 0, 0, 0, 0, 0][..])).is_err());
        assert!(event(Kind::Stdin, Bytes::new()).is_err());
        assert!(event(Kind::Exited, Bytes::from("no json")).is_err());
    }
}
