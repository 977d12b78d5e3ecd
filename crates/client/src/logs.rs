// SPDX-License-Identifier: Apache-2.0
//! A container's log as it comes over HTTP: raw from a terminal, else in Docker's framing (one byte of stream, three
//! of padding, four of big-endian length, then so many bytes).

use bytes::{Buf, Bytes, BytesMut};
use http::{Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::ClientError;

/// The content type of a framed log.
const MULTIPLEXED: &[u8] = b"application/vnd.docker.multiplexed-stream";
/// The largest frame that is believed, in bytes.
const LARGEST_FRAME: usize = 16 << 20;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Of the standard output.
    Stdout(Bytes),
    /// Of the standard error output.
    Stderr(Bytes),
}

/// A log being read.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
    frames: Option<Frames>,
}

impl LogStream {
    pub(crate) fn new(response: Response<Incoming>) -> LogStream {
        let framed = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes() == MULTIPLEXED);
        LogStream { body: response.into_body(), frames: framed.then(Frames::default) }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or the framing is wrong.
    pub async fn next(&mut self) -> Result<Option<Output>, ClientError> {
        loop {
            if let Some(output) = self.frames.as_mut().map_or(Ok(None), Frames::next)? {
                return Ok(Some(output));
            }
            let Some(frame) = self.body.frame().await else {
                let whole = self.frames.as_ref().is_none_or(|frames| frames.buffered.is_empty());
                return if whole { Ok(None) } else { Err(ClientError::Framing("it ends in the middle of a frame")) };
            };
            let frame = frame.map_err(|error| ClientError::Stream(std::io::Error::other(error)))?;
            let Ok(data) = frame.into_data() else { continue };
            match &mut self.frames {
                Some(frames) => frames.buffered.extend_from_slice(&data),
                None => return Ok(Some(Output::Stdout(data))),
            }
        }
    }
}

#[derive(Debug, Default)]
struct Frames {
    buffered: BytesMut,
}

impl Frames {
    fn next(&mut self) -> Result<Option<Output>, ClientError> {
        let Some((header, rest)) = self.buffered.split_first_chunk::<8>() else { return Ok(None) };
        let [stream, _, _, _, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if length > LARGEST_FRAME {
            return Err(ClientError::Framing("a frame is larger than any can be"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffered.advance(8);
        let data = self.buffered.split_to(length).freeze();
        match stream {
            0 | 1 => Ok(Some(Output::Stdout(data))),
            2 => Ok(Some(Output::Stderr(data))),
            _ => Err(ClientError::Framing("a frame is of no known stream")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_may_arrive_in_any_pieces() {
        let mut frames = Frames::default();
        let sent = [&[1, 0, 0, 0, 0, 0, 0, 2][..], b"hi", &[2, 0, 0, 0, 0, 0, 0, 1], b"!"].concat();
        let mut received = Vec::new();
        for byte in sent {
            frames.buffered.extend_from_slice(&[byte]);
            received.extend(frames.next().unwrap());
        }
        assert_eq!(received, [Output::Stdout(Bytes::from("hi")), Output::Stderr(Bytes::from("!"))]);
    }

    #[test]
    fn a_frame_of_a_gigabyte_is_not_waited_for() {
        let mut frames = Frames::default();
        frames.buffered.extend_from_slice(&[1, 0, 0, 0, 0x40, 0, 0, 0]);
        assert!(frames.next().is_err());
    }
}
