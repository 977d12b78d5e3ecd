// SPDX-License-Identifier: Apache-2.0
//! The shim's frames over an asynchronous stream. The format is the shim's ([`shim::frame`]); this reads and writes it
//! without blocking a thread.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use errors::Report;
use shim::frame::{HEADER_LEN, Header, Kind};
use shim::{Exit, Started};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::error::EngineError;

/// A frame that carries a message rather than a stream's bytes.
pub(crate) enum Frame {
    /// The command was executed.
    Started(Started),
    /// It ended.
    Exited(Exit),
    /// It could not be executed, or the request could not be served.
    Failed(Report),
    /// Anything else.
    Other,
}

/// Makes a blocking stream an asynchronous one.
pub(crate) fn adopt(stream: StdUnixStream) -> Result<UnixStream, EngineError> {
    let failed = EngineError::io("use the socket of", "the shim");
    stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)).map_err(failed)
}

/// Reads one frame whole.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let (kind, payload) = read_raw(stream).await?;
    Ok(match kind {
        Kind::Started => Frame::Started(decode(&payload)?),
        Kind::Exited => Frame::Exited(decode(&payload)?),
        Kind::Failed => Frame::Failed(decode(&payload)?),
        _ => Frame::Other,
    })
}

/// Reads one frame's kind and bytes.
pub(crate) async fn read_raw(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Kind, Vec<u8>)> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).await?;
    let header = Header::decode(header).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut payload = vec![0; header.len as usize];
    stream.read_exact(&mut payload).await?;
    Ok((header.kind, payload))
}

/// What is copied rather than written by itself, in bytes.
const SMALL: usize = 4096;

/// Writes one frame.
pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), kind: Kind, payload: &[u8]) -> io::Result<()> {
    let header =
        Header::new(kind, payload.len()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    // In one piece where that is cheaper than to write twice: who reads it wakes once.
    if payload.len() <= SMALL {
        return stream.write_all(&[&header.encode(), payload].concat()).await;
    }
    stream.write_all(&header.encode()).await?;
    stream.write_all(payload).await
}

/// Writes one frame whose payload is JSON.
pub(crate) async fn write_json<T: serde::Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    message: &T,
) -> io::Result<()> {
    write(stream, kind, &serde_json::to_vec(message)?).await
}

fn decode<T: serde::de::DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    serde_json::from_slice(payload).map_err(io::Error::from)
}
