// SPDX-License-Identifier: Apache-2.0
//! Questions that come as datagrams: nearly all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::LONGEST_QUESTION;
use crate::answer::Decision;
use crate::forward::{self, Carrier};
use crate::message::{self, Refused};
use crate::server::Zone;

/// So many questions of one namespace are under way upstream; what comes beyond is dropped.
const MOST_UNDER_WAY: usize = 64;

/// Answers until the task is aborted, and all that is under way with it.
pub(crate) async fn serve(zone: Arc<Zone>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            ready = socket.readable() => {
                if let Err(error) = ready {
                    // The runtime ends.
                    tracing::debug!(%error, "a container's name server ends");
                    return;
                }
                match receive(&socket) {
                    Ok((message, asker)) => handle(&zone, &socket, message, asker, &mut under_way),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // An answer reached nobody: its asker has gone.
                    Err(error) => tracing::debug!(%error, "a question for a name was not received"),
                }
            }
            Some(_) = under_way.join_next() => {}
        }
    }
}

/// Apart, so that the buffer is no part of a task that waits.
fn receive(socket: &UdpSocket) -> io::Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; LONGEST_QUESTION];
    let (length, asker) = socket.try_recv_from(&mut buffer)?;
    Ok((buffer[..length].to_vec(), asker))
}

fn handle(zone: &Arc<Zone>, socket: &Arc<UdpSocket>, message: Vec<u8>, asker: SocketAddr, under_way: &mut JoinSet<()>) {
    match message::question(&message) {
        Err(Refused::Silently) => return,
        Err(Refused::With(answer)) => return send(socket, &answer, asker),
        Ok(question) => {
            if let Decision::Answer(code, records) = zone.decide(&question) {
                return send(socket, &question.answer(code, &records, question.limit), asker);
            }
        }
    }
    if under_way.len() >= MOST_UNDER_WAY {
        return;
    }
    let Some(turn) = zone.turn_upstream() else { return };
    let (zone, socket) = (Arc::clone(zone), Arc::clone(socket));
    under_way.spawn(async move {
        let _turn = turn;
        if let Ok(question) = message::question(&message) {
            send(&socket, &forward::ask(&zone, &question, Carrier::Udp).await, asker);
        }
    });
}

/// An answer that cannot be sent at once is not worth waiting for: it is asked for again.
fn send(socket: &UdpSocket, answer: &[u8], asker: SocketAddr) {
    if let Err(error) = socket.try_send_to(answer, asker) {
        tracing::debug!(%error, "the answer to a question for a name was not sent");
    }
}
