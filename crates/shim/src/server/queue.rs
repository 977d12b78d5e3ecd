// SPDX-License-Identifier: Apache-2.0
//! Bytes that wait for a descriptor to take them.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;

/// A queue of bytes. Empty most of the time, and then without memory of its own.
#[derive(Debug, Default)]
pub(crate) struct ByteQueue {
    bytes: Vec<u8>,
    taken: usize,
}

impl ByteQueue {
    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Whether none wait.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes at the end.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // Move what is left to the front before growing: at most half of the vector is ever dead.
        if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes that wait.
    pub(crate) fn front(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn take(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() {
            *self = ByteQueue::default();
        }
    }
}

/// A process's standard input, seen from outside.
#[derive(Debug)]
pub(crate) struct Sink {
    fd: Rc<OwnedFd>,
    queue: ByteQueue,
    ending: bool,
}

/// Whether a [`Sink`] is of further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SinkState {
    /// It takes bytes.
    Open,
    /// Its reader is gone, or all of the input has been given: to be dropped, which closes it.
    Done,
}

impl Sink {
    /// Writes to `fd`, which does not block.
    pub(crate) fn new(fd: Rc<OwnedFd>) -> Sink {
        Sink { fd, queue: ByteQueue::default(), ending: false }
    }

    /// The descriptor to poll for room.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// How many bytes wait for the process to read.
    pub(crate) fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Gives bytes to the process, now or when it reads.
    pub(crate) fn give(&mut self, bytes: &[u8]) -> SinkState {
        if self.ending {
            return SinkState::Open;
        }
        self.queue.push(bytes);
        self.flush()
    }

    /// No more will come: done when all that waits is given.
    pub(crate) fn end(&mut self) -> SinkState {
        self.ending = true;
        self.flush()
    }

    /// Writes as much as fits.
    pub(crate) fn flush(&mut self) -> SinkState {
        while !self.queue.is_empty() {
            match rustix::io::write(self.fd.as_fd(), self.queue.front()) {
                Ok(count) => self.queue.take(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return SinkState::Open,
                // The reader closed it: what it did not want is nobody's loss.
                Err(_) => return SinkState::Done,
            }
        }
        if self.ending { SinkState::Done } else { SinkState::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gives_back_what_was_put_in() {
        let (mut queue, mut out) = (ByteQueue::default(), Vec::new());
        for round in 0..100u8 {
            queue.push(&[round; 37]);
            let count = queue.len().min(29 + usize::from(round % 20));
            out.extend_from_slice(&queue.front()[..count]);
            queue.take(count);
        }
        out.extend_from_slice(queue.front());
        let expected: Vec<u8> = (0..100u8).flat_map(|round| [round; 37]).collect();
        assert_eq!(out, expected);
    }
}
