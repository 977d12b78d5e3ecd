// SPDX-License-Identifier: Apache-2.0
//! One client's connection: what it is for, what it still has to be sent.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};

use errors::Report;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use serde::Serialize;

use super::queue::ByteQueue;
use super::task::TaskKey;
use crate::frame::{Decoder, Header, Kind};

/// How much output may wait for one client before its process is read no further, in bytes.
pub(crate) const OUT_LIMIT: usize = 256 << 10;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has not said yet.
    New,
    /// The stdio of a process: the container's, or an exec's.
    Attach(Attach),
    /// The container's start and end.
    Watch,
}

/// Which streams of which process a client follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attach {
    pub(crate) task: TaskKey,
    /// Its input goes to the process; false once it has ended.
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) socket: OwnedFd,
    pub(crate) role: Role,
    pub(crate) decoder: Decoder,
    out: ByteQueue,
    /// Nothing more is read from it.
    pub(crate) read_closed: bool,
    /// It takes nothing more: the client is gone.
    pub(crate) gone: bool,
    /// It is dropped when all is sent.
    pub(crate) closing: bool,
}

/// What a read from a client gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Something, which is in the buffer.
    Bytes,
    Nothing,
    End,
}

impl Session {
    pub(crate) fn new(socket: OwnedFd, role: Role) -> Session {
        Session {
            socket,
            role,
            decoder: Decoder::default(),
            out: ByteQueue::default(),
            read_closed: false,
            gone: false,
            closing: false,
        }
    }

    /// Whether the process `task` may be read on for all that this client minds.
    pub(crate) fn has_room_for(&self, task: TaskKey) -> bool {
        !matches!(self.role, Role::Attach(attach) if attach.task == task) || self.out.len() < OUT_LIMIT
    }

    /// Whether something waits to be sent.
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether nothing more will happen here.
    pub(crate) fn is_over(&self) -> bool {
        (self.gone && self.read_closed) || (self.closing && (self.gone || self.out.is_empty()))
    }

    /// Sends a frame, now or when the client reads. A payload over the limit of a frame cannot come here: output is
    /// read in smaller pieces and every JSON value of ours is short.
    pub(crate) fn send(&mut self, kind: Kind, payload: &[u8]) {
        if self.gone || self.closing {
            return;
        }
        let Ok(header) = Header::new(kind, payload.len()) else { return };
        let header = header.encode();
        let mut sent = 0;
        if self.out.is_empty() {
            let parts = [IoSlice::new(&header), IoSlice::new(payload)];
            sent = self.try_send(&parts);
        }
        if sent < header.len() {
            self.out.push(&header[sent..]);
            self.out.push(payload);
        } else if sent < header.len() + payload.len() {
            self.out.push(&payload[sent - header.len()..]);
        }
    }

    /// Sends a value as JSON.
    pub(crate) fn send_json(&mut self, kind: Kind, value: &impl Serialize) {
        // Our own plain types cannot fail to be written.
        if let Ok(payload) = serde_json::to_vec(value) {
            self.send(kind, &payload);
        }
    }

    /// Sends the reason why this session ends, and ends it.
    pub(crate) fn fail(&mut self, report: &Report) {
        self.send_json(Kind::Failed, report);
        self.close();
    }

    /// Ends the session when all is sent.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.read_closed = true;
    }

    /// The client is gone: nothing more is for it.
    pub(crate) fn hang_up(&mut self) {
        self.gone = true;
        self.out = ByteQueue::default();
    }

    /// Sends more of what waits.
    pub(crate) fn flush(&mut self) {
        while !self.out.is_empty() {
            let queue = std::mem::take(&mut self.out);
            let sent = self.try_send(&[IoSlice::new(queue.front())]);
            if self.gone {
                return;
            }
            self.out = queue;
            self.out.take(sent);
            if sent == 0 {
                return;
            }
        }
    }

    /// Reads what the client sent, as much as there is room for in the buffer, whose content it becomes.
    pub(crate) fn receive(&mut self, buffer: &mut Vec<u8>) -> Received {
        buffer.clear();
        match recv(&self.socket, spare_capacity(buffer), RecvFlags::DONTWAIT) {
            Ok((0, _)) => Received::End,
            Ok(_) => Received::Bytes,
            Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
            Err(_) => {
                self.hang_up();
                Received::End
            }
        }
    }

    /// Reads away what came too late, so that closing is an orderly end for the client and no reset.
    pub(crate) fn discard_input(&mut self, buffer: &mut Vec<u8>) {
        for _ in 0..32 {
            if !matches!(self.receive(buffer), Received::Bytes) {
                break;
            }
        }
    }

    /// How many bytes the socket took.
    fn try_send(&mut self, parts: &[IoSlice<'_>]) -> usize {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(self.socket.as_fd(), parts, &mut SendAncillaryBuffer::default(), flags) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => {
                self.hang_up();
                0
            }
        }
    }
}
