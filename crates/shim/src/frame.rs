// SPDX-License-Identifier: Apache-2.0
//! The frames that shims, the daemon and its clients speak on a stream.
//!
//! A frame is eight bytes of header (`[kind, 0, 0, 0, length as u32 big endian]`) and a payload of at most
//! [`MAX_PAYLOAD`] bytes. Kinds 0 to 2 are laid out as Docker's multiplexed stream is (Engine API, "Attach to a
//! container", "Stream format"), so the output of a container can be passed to a Docker client as it is.
//!
//! Nothing here trusts the other side: a length over the limit, an unknown kind or a set reserved byte is an error,
//! and no memory is set aside for a payload before its bytes have come.

use std::io::{self, IoSlice, Read, Write};

use errors::{Classify, kind_of_io};

/// The longest payload of one frame, in bytes: 1 MiB.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 8;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Client to container: bytes for its standard input.
    Stdin = 0,
    /// Container to client: bytes of its standard output, or of its terminal.
    Stdout = 1,
    /// Container to client: bytes of its standard error.
    Stderr = 2,
    /// Client to shim, first frame of a connection: a JSON [`Request`](crate::Request).
    Request = 16,
    /// Client to shim: a JSON [`Resize`](crate::Resize) of the session's own terminal.
    Resize = 17,
    /// Shim to client: a JSON [`Started`](crate::Started).
    Started = 18,
    /// Shim to client: a JSON [`Exit`](crate::Exit), after all output; the last frame.
    Exited = 19,
    /// Shim to client: a JSON [`errors::Report`]; the last frame.
    Failed = 20,
    /// Client to container: no more standard input will come. No payload.
    StdinEof = 21,
    /// Shim to client: done. No payload.
    Ok = 22,
    /// The client leaves and the container's standard input stays open, even with `stdin_once`. No payload.
    Detached = 23,
}

impl TryFrom<u8> for Kind {
    type Error = FrameError;

    fn try_from(byte: u8) -> Result<Kind, FrameError> {
        Ok(match byte {
            0 => Kind::Stdin,
            1 => Kind::Stdout,
            2 => Kind::Stderr,
            16 => Kind::Request,
            17 => Kind::Resize,
            18 => Kind::Started,
            19 => Kind::Exited,
            20 => Kind::Failed,
            21 => Kind::StdinEof,
            22 => Kind::Ok,
            23 => Kind::Detached,
            other => return Err(FrameError::UnknownKind(other)),
        })
    }
}

/// A frame that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A kind that this version does not know.
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    /// A reserved header byte that is not zero: the stream is out of step, or is none of ours.
    #[error("a frame whose reserved bytes are not zero")]
    Reserved,
    /// A payload over [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes, more than the allowed {MAX_PAYLOAD}")]
    TooLong(usize),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// The stream itself failed.
    #[error("read or write a frame")]
    Io(#[source] io::Error),
}

impl Classify for FrameError {
    fn kind(&self) -> errors::Kind {
        match self {
            FrameError::TooLong(_) | FrameError::UnknownKind(_) | FrameError::Reserved => errors::Kind::InvalidArgument,
            FrameError::Truncated => errors::Kind::Unavailable,
            FrameError::Io(e) => kind_of_io(e),
        }
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// The payload's length in bytes, at most [`MAX_PAYLOAD`].
    pub len: u32,
}

impl Header {
    /// The header for a payload of `len` bytes.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] over [`MAX_PAYLOAD`].
    pub fn new(kind: Kind, len: usize) -> Result<Header, FrameError> {
        match u32::try_from(len) {
            Ok(short) if len <= MAX_PAYLOAD => Ok(Header { kind, len: short }),
            _ => Err(FrameError::TooLong(len)),
        }
    }

    /// The eight bytes on the wire.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [a, b, c, d] = self.len.to_be_bytes();
        [self.kind as u8, 0, 0, 0, a, b, c, d]
    }

    /// Reads the eight bytes of the wire.
    ///
    /// # Errors
    /// An unknown kind, a reserved byte that is set, or a length over [`MAX_PAYLOAD`].
    pub fn decode(bytes: [u8; HEADER_LEN]) -> Result<Header, FrameError> {
        let [kind, r1, r2, r3, a, b, c, d] = bytes;
        if [r1, r2, r3] != [0; 3] {
            return Err(FrameError::Reserved);
        }
        Header::new(Kind::try_from(kind)?, u32::from_be_bytes([a, b, c, d]) as usize)
    }
}

/// A frame as bytes.
///
/// # Errors
/// [`FrameError::TooLong`] over [`MAX_PAYLOAD`].
pub fn encode(kind: Kind, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    bytes.extend_from_slice(&Header::new(kind, payload.len())?.encode());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// Writes one frame, blocking.
///
/// # Errors
/// A payload over [`MAX_PAYLOAD`], or the stream's failure.
pub fn write_frame(mut to: impl Write, kind: Kind, payload: &[u8]) -> Result<(), FrameError> {
    let header = Header::new(kind, payload.len())?.encode();
    // One call for both where the stream takes it: the other side wakes once.
    let mut written = match to.write_vectored(&[IoSlice::new(&header), IoSlice::new(payload)]) {
        Ok(0) => return Err(FrameError::Io(io::ErrorKind::WriteZero.into())),
        Ok(n) => n,
        Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
        Err(e) => return Err(FrameError::Io(e)),
    };
    if written < HEADER_LEN {
        to.write_all(&header[written..]).map_err(FrameError::Io)?;
        written = HEADER_LEN;
    }
    to.write_all(&payload[written - HEADER_LEN..]).map_err(FrameError::Io)
}

/// Reads one frame, blocking; `None` when the stream ended between frames.
///
/// # Errors
/// A malformed header, a stream that ends inside the frame, or the stream's failure.
pub fn read_frame(mut from: impl Read) -> Result<Option<(Kind, Vec<u8>)>, FrameError> {
    let mut bytes = [0; HEADER_LEN];
    let mut have = 0;
    while have < HEADER_LEN {
        match from.read(&mut bytes[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(FrameError::Truncated),
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(FrameError::Io(e)),
        }
    }
    let header = Header::decode(bytes)?;
    let mut payload = Vec::with_capacity(header.len as usize + 1);
    from.take(u64::from(header.len)).read_to_end(&mut payload).map_err(FrameError::Io)?;
    if payload.len() != header.len as usize {
        return Err(FrameError::Truncated);
    }
    Ok(Some((header.kind, payload)))
}

/// What a [`Decoder`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Some bytes of a [`Kind::Stdin`] frame, passed on as they come.
    Input(&'a [u8]),
    /// A whole frame of any other kind.
    Frame(Kind, Vec<u8>),
}

/// Takes frames apart as their bytes come, whatever the pieces. Standard input is passed through, never gathered.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_LEN],
    have: usize,
    current: Option<Header>,
    payload: Vec<u8>,
    remaining: usize,
}

impl Decoder {
    /// Takes the next of `input`: how many bytes were used, and what they completed. Call again with the rest until
    /// all of it is used.
    ///
    /// # Errors
    /// A malformed header. The stream cannot be trusted afterwards.
    pub fn feed<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Item<'a>>), FrameError> {
        let mut used = 0;
        let header = match self.current {
            Some(header) => header,
            None => {
                used = input.len().min(HEADER_LEN - self.have);
                self.header[self.have..self.have + used].copy_from_slice(&input[..used]);
                self.have += used;
                if self.have < HEADER_LEN {
                    return Ok((used, None));
                }
                let header = Header::decode(self.header)?;
                self.remaining = header.len as usize;
                self.current = Some(header);
                header
            }
        };
        let piece = &input[used..input.len().min(used + self.remaining)];
        used += piece.len();
        self.remaining -= piece.len();
        if header.kind != Kind::Stdin {
            self.payload.extend_from_slice(piece);
        }
        if self.remaining == 0 {
            (self.current, self.have) = (None, 0);
            if header.kind != Kind::Stdin {
                return Ok((used, Some(Item::Frame(header.kind, std::mem::take(&mut self.payload)))));
            }
        }
        let is_input = header.kind == Kind::Stdin && !piece.is_empty();
        Ok((used, is_input.then_some(Item::Input(piece))))
    }

    /// Whether the stream may end here: no frame is half read.
    pub fn is_between_frames(&self) -> bool {
        self.have == 0
    }
}

#[cfg(test)]
mod tests;
