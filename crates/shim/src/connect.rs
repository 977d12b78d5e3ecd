// SPDX-License-Identifier: Apache-2.0
//! Speaking to a running shim.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::ShimError;
use crate::frame::{FrameError, Kind, read_frame, write_frame};
use crate::protocol::{Request, Started};

/// The shim's socket in its directory.
pub(crate) const SOCKET: &str = "sock";

/// The socket's path by way of a descriptor of its directory: a socket's address holds 107 bytes, a path may be longer.
pub(crate) fn socket_path(dir: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd())
}

/// Connects to the shim in `dir` and says what for. Blocks only while the shim is busy launching.
///
/// # Errors
/// [`ShimError::NotRunning`] when nobody listens there, [`ShimError::Connect`] when the directory or socket cannot be
/// opened, or the request could not be sent.
pub fn connect(dir: &Path, request: &Request) -> Result<UnixStream, ShimError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ShimError::NotRunning { dir: dir.to_owned(), source }
        }
        _ => ShimError::Connect { dir: dir.to_owned(), source },
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir_fd = openat(CWD, dir, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    let stream = UnixStream::connect(socket_path(&dir_fd)).map_err(failed)?;
    let payload = serde_json::to_vec(request).map_err(|source| ShimError::Encode { what: "a request", source })?;
    write_frame(&stream, Kind::Request, &payload).map_err(ShimError::Send)?;
    Ok(stream)
}

/// Waits on a connection for [`Request::Watch`] until the shim says that its container was started, which one that was started
/// before says at once.
///
/// # Errors
/// The shim has not said so in `patience`, or has ended before.
pub fn await_start(stream: &UnixStream, patience: Duration) -> Result<Started, FrameError> {
    stream.set_read_timeout(Some(patience)).map_err(FrameError::Io)?;
    let said = read_frame(stream)?;
    stream.set_read_timeout(None).map_err(FrameError::Io)?;
    match said {
        Some((Kind::Started, payload)) => serde_json::from_slice(&payload).map_err(|e| FrameError::Io(e.into())),
        _ => Err(FrameError::Truncated),
    }
}
