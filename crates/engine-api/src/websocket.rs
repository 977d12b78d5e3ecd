// SPDX-License-Identifier: Apache-2.0
//! The server's side of a WebSocket (RFC 6455) that carries a stream of bytes: how it begins, and its frames.
//!
//! Messages have no meaning here: what a client sends is one stream, however it is cut, and so is what it is sent. Sizes
//! are bounded by the buffer: a frame's payload is handed on in pieces, never gathered.

use std::io;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::error::ApiError;

/// What RFC 6455 (section 1.3) adds to a client's key.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How much of a stream is handed on at once.
pub(crate) const BUFFER: usize = 32 << 10;
/// How long a client may take to answer the server's goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// The longest payload of a control frame.
const CONTROL: u64 = 125;

/// The meaning of a frame.
mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// What kind of frames a client is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Bytes.
    Binary,
    /// What is declared as text, whether it is UTF-8 or not: clients of before 1.28 expect it.
    Text,
}

/// The answer to a client's key, which proves that the server understood it.
///
/// # Errors
/// The headers are not those of a WebSocket; a page of another site asks.
pub(crate) fn accept(headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if !text("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
        return Err(ApiError::invalid("Upgrade", "this route speaks websocket"));
    }
    if text("sec-websocket-version") != Some("13") {
        return Err(ApiError::invalid("Sec-WebSocket-Version", "only version 13 is spoken"));
    }
    // A browser lets any page open a WebSocket anywhere, and says only whose page it is.
    if let Some(origin) = text("origin")
        && origin.split_once("://").map(|(_, host)| host) != text("host")
    {
        return Err(ApiError::ForeignOrigin(origin.to_owned()));
    }
    let key = text("sec-websocket-key").unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(ApiError::invalid("Sec-WebSocket-Key", "it must be 16 bytes in base64"));
    }
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes());
    HeaderValue::from_str(&STANDARD.encode(proof))
        .map_err(|_| ApiError::invalid("Sec-WebSocket-Key", "it cannot be answered"))
}

/// Carries bytes both ways until one side ends.
///
/// # Errors
/// The client's connection broke, or what it sends is no WebSocket's.
pub(crate) async fn carry(
    client: impl AsyncRead + AsyncWrite + Unpin,
    inside: impl AsyncRead + AsyncWrite + Unpin,
    payload: Payload,
) -> io::Result<()> {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_inside, to_inside) = tokio::io::split(inside);
    let to_client = Mutex::new(to_client);
    let receiving = receive(from_client, &to_client, to_inside);
    tokio::pin!(receiving);
    tokio::select! {
        sent = send(from_inside, &to_client, payload) => {
            sent?;
            // The client answers the goodbye, and would see an error if nobody were there any more to hear it.
            tokio::time::timeout(GOODBYE, receiving).await.map_or(Ok(()), |answered| answered.map(drop))
        }
        goodbye = &mut receiving => write(&to_client, opcode::CLOSE, &goodbye?).await,
    }
}

/// Sends what comes from inside, and says goodbye at its end.
async fn send(
    mut inside: impl AsyncRead + Unpin,
    client: &Mutex<impl AsyncWrite + Unpin>,
    payload: Payload,
) -> io::Result<()> {
    let opcode = match payload {
        Payload::Binary => opcode::BINARY,
        Payload::Text => opcode::TEXT,
    };
    let mut buffer = vec![0; BUFFER];
    loop {
        match inside.read(&mut buffer).await? {
            0 => return write(client, opcode::CLOSE, &1000_u16.to_be_bytes()).await,
            length => write(client, opcode, &buffer[..length]).await?,
        }
    }
}

/// Hands on what the client sends, and answers what it asks of the connection. Returns the client's goodbye.
async fn receive(
    mut client: impl AsyncRead + Unpin,
    answers: &Mutex<impl AsyncWrite + Unpin>,
    mut inside: impl AsyncWrite + Unpin,
) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; BUFFER];
    // When nobody inside hears it any more, the goodbye is still waited for.
    let mut heard = true;
    loop {
        let frame = read_head(&mut client).await?;
        match frame.opcode {
            opcode::CONTINUATION | opcode::TEXT | opcode::BINARY => {
                let mut done = 0;
                while done < frame.length {
                    let piece = usize::try_from(frame.length - done).map_or(BUFFER, |left| left.min(BUFFER));
                    client.read_exact(&mut buffer[..piece]).await?;
                    unmask(&mut buffer[..piece], frame.mask, done);
                    heard = heard && inside.write_all(&buffer[..piece]).await.is_ok();
                    done += piece as u64;
                }
            }
            opcode::CLOSE | opcode::PING | opcode::PONG => {
                // A control frame's length was checked.
                let piece = &mut buffer[..frame.length as usize];
                client.read_exact(piece).await?;
                unmask(piece, frame.mask, 0);
                match frame.opcode {
                    opcode::CLOSE => return Ok(piece.to_vec()),
                    opcode::PING => write(answers, opcode::PONG, piece).await?,
                    _ => {}
                }
            }
            other => return Err(broken(format!("a frame of the unknown kind {other}"))),
        }
    }
}

/// What stands before a frame's payload.
struct Head {
    opcode: u8,
    mask: [u8; 4],
    length: u64,
}

async fn read_head(client: &mut (impl AsyncRead + Unpin)) -> io::Result<Head> {
    let mut first = [0; 2];
    client.read_exact(&mut first).await?;
    let [kind, length] = first;
    let opcode = kind & 0x0f;
    if kind & 0x70 != 0 {
        return Err(broken("a frame with an extension that was not agreed upon".to_owned()));
    }
    if length & 0x80 == 0 {
        return Err(broken("a client's frame without a mask".to_owned()));
    }
    let length = match length & 0x7f {
        126 => client.read_u16().await?.into(),
        127 => client.read_u64().await?,
        short => short.into(),
    };
    if opcode >= opcode::CLOSE && (length > CONTROL || kind & 0x80 == 0) {
        return Err(broken("a control frame that is too long or in pieces".to_owned()));
    }
    let mut mask = [0; 4];
    client.read_exact(&mut mask).await?;
    Ok(Head { opcode, mask, length })
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Takes the mask from a piece that begins `from` bytes behind the payload's beginning.
fn unmask(piece: &mut [u8], mask: [u8; 4], from: u64) {
    for (place, byte) in (from..).zip(piece) {
        *byte ^= mask[(place % 4) as usize];
    }
}

/// Writes one frame, whole.
async fn write(client: &Mutex<impl AsyncWrite + Unpin>, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(10 + payload.len());
    frame.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    let mut client = client.lock().await;
    client.write_all(&frame).await?;
    client.flush().await
}

#[cfg(test)]
mod tests;
