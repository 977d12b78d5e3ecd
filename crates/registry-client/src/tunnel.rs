// SPDX-License-Identifier: Apache-2.0
//! `CONNECT` (RFC 9110, section 9.3.6): a proxy that hands bytes on.

use std::io;

use http::Uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::connector::Io;
use crate::proxy::Proxy;

/// The longest head of a proxy's answer, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// Has the proxy at the other end of `stream` make a connection to `target`.
pub(crate) async fn open<S: Io>(mut stream: S, target: &Uri, proxy: &Proxy) -> io::Result<S> {
    let (host, port) = (target.host().unwrap_or_default(), target.port_u16().unwrap_or(443));
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head is the registry's already. A few hundred bytes, once per connection.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match status(line) {
        Some(200..300) => Ok(stream),
        Some(407) => Err(io::Error::new(io::ErrorKind::PermissionDenied, "it wants a user name and a password")),
        Some(status) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("it answers {status}"))),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP")),
    }
}

/// The status in `HTTP/1.1 200 Connection established`.
fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}
