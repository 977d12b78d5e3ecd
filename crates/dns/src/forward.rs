// SPDX-License-Identifier: Apache-2.0
//! Asking upstream servers: one after the other, until one answers.

use std::io;
use std::time::Duration;

use rustix::net::{RecvFlags, SocketType};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

use crate::Upstream;
use crate::message::{self, Code, Question, SMALLEST_LIMIT};
use crate::opener::{connect_tcp, connect_udp};
use crate::server::Zone;

/// How long a server may take while there is another one to ask.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the last one may take. Those who ask give up, and ask again, after five seconds.
const LAST_PATIENCE: Duration = Duration::from_secs(4);
/// No datagram has more.
const LONGEST_DATAGRAM: usize = 65_535;

/// What carries questions and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Udp,
    Tcp,
}

/// The answer to a question from the first server that has one; else the last one's failure, or our own.
pub(crate) async fn ask(zone: &Zone, question: &Question<'_>, carrier: Carrier) -> Vec<u8> {
    let mut failure = None;
    for (index, server) in zone.upstreams.iter().enumerate() {
        let patience = if index + 1 == zone.upstreams.len() { LAST_PATIENCE } else { PATIENCE };
        match tokio::time::timeout(patience, ask_one(zone, *server, question, carrier)).await {
            Ok(Ok(reply)) if message::is_failure(&reply) => failure = Some(reply),
            Ok(Ok(reply)) => return reply,
            Ok(Err(error)) => tracing::debug!(server = %server.address, %error, "a name server cannot be asked"),
            Err(_) => tracing::debug!(server = %server.address, "a name server does not answer"),
        }
    }
    failure.unwrap_or_else(|| question.answer(Code::ServerFailure, &[], question.limit))
}

/// One server's answer, under the number that the question came with.
async fn ask_one(
    zone: &Zone,
    server: Upstream,
    question: &Question<'_>,
    carrier: Carrier,
) -> Result<Vec<u8>, io::Error> {
    let number = random_number()?;
    let mut asked = question.message.to_vec();
    message::renumber(&mut asked, number);
    let mut reply = match carrier {
        Carrier::Tcp => by_tcp(zone, server, question, &asked, number).await?,
        Carrier::Udp => {
            let short = by_udp(zone, server, question, &asked, number).await?;
            if message::is_truncated(&short) && question.limit > SMALLEST_LIMIT {
                // All of it may fit into what the asker takes; if not it asks by TCP itself.
                let whole = by_tcp(zone, server, question, &asked, number).await;
                whole.ok().filter(|whole| whole.len() <= question.limit).unwrap_or(short)
            } else {
                short
            }
        }
    };
    message::renumber(&mut reply, message::number(question.message).unwrap_or_default());
    Ok(reply)
}

async fn by_udp(
    zone: &Zone,
    server: Upstream,
    question: &Question<'_>,
    asked: &[u8],
    number: u16,
) -> io::Result<Vec<u8>> {
    let socket = zone.asking(server, SocketType::DGRAM).await.map_err(io::Error::other)?;
    let socket = connect_udp(socket, server.address).await?;
    socket.send(asked).await?;
    loop {
        // Where nobody listens, the host in question says so: an error, which makes nothing readable.
        let reply = socket.async_io(Interest::READABLE | Interest::ERROR, || receive(&socket)).await?;
        // Whoever answers something else may be guessing: the right answer may still come.
        if question.is_answered_by(&reply, number) {
            return Ok(reply);
        }
    }
}

/// Apart, so that the buffer is no part of a task that waits.
fn receive(socket: &tokio::net::UdpSocket) -> io::Result<Vec<u8>> {
    let mut buffer = [0; LONGEST_DATAGRAM];
    let (length, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
    Ok(buffer[..length].to_vec())
}

async fn by_tcp(
    zone: &Zone,
    server: Upstream,
    question: &Question<'_>,
    asked: &[u8],
    number: u16,
) -> io::Result<Vec<u8>> {
    let socket = zone.asking(server, SocketType::STREAM).await.map_err(io::Error::other)?;
    let mut stream = connect_tcp(socket, server.address).await?;
    stream.write_all(&framed(asked)).await?;
    let mut reply = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut reply).await?;
    if question.is_answered_by(&reply, number) { Ok(reply) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// A message with its length before it, as TCP carries them (RFC 1035, section 4.2.2).
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(&message[..length.into()]);
    framed
}

/// A number that nobody can guess, whatever the asker's is like.
fn random_number() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}
