// SPDX-License-Identifier: Apache-2.0
//! Questions that come by a connection: those whose answers are long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::LONGEST_QUESTION;
use crate::answer::Decision;
use crate::forward::{self, Carrier, framed};
use crate::message::{self, Code, Refused};
use crate::server::Zone;

/// So many connections of one namespace are open; more wait to be accepted.
const MOST_CONNECTIONS: usize = 32;
/// How long a connection may do nothing (RFC 7766, section 6.2.3: seconds).
const IDLE: Duration = Duration::from_secs(10);
/// How long to wait when the daemon has no descriptor to accept with.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers until the task is aborted, and all connections with it.
pub(crate) async fn serve(zone: Arc<Zone>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let zone = Arc::clone(&zone);
                    connections.spawn(async move {
                        if let Err(error) = converse(&zone, stream).await {
                            tracing::debug!(%error, "a connection that asked for names broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a container's question for a name cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One question after the other, until the asker ends, says nothing, or something that cannot be a question.
async fn converse(zone: &Zone, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let message = match tokio::time::timeout(IDLE, read(&mut stream)).await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        let answer = match message::question(&message) {
            Err(Refused::Silently) => return Ok(()),
            Err(Refused::With(answer)) => answer,
            Ok(question) => match zone.decide(&question) {
                Decision::Answer(code, records) => question.answer(code, &records, u16::MAX.into()),
                Decision::Forward => match zone.turn_upstream() {
                    Some(_turn) => forward::ask(zone, &question, Carrier::Tcp).await,
                    None => question.answer(Code::ServerFailure, &[], u16::MAX.into()),
                },
            },
        };
        match tokio::time::timeout(IDLE, stream.write_all(&framed(&answer))).await {
            Ok(written) => written?,
            Err(_) => return Ok(()),
        }
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST_QUESTION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
