// SPDX-License-Identifier: Apache-2.0
//! gzip by several processors: a stream is cut into members (RFC 1952, section 2.2), each compressed by itself.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor};

/// The uncompressed bytes of one member. Every reader of RFC 1952 takes several members for one stream; at this size they
/// cost less than a thousandth.
pub(super) const MEMBER: usize = 1 << 20;
/// Smaller than what zlib makes at its default level, 6, in about half the time (`ARCHITECTURE.md`, Dependencies).
const LEVEL: i32 = 5;
/// Threads that one stream starts at most: each holds two blocks, and no disk takes what more would make.
const MAX_THREADS: usize = 32;

/// Writes to `target` what is written to it, compressed with gzip by several threads, which are started as they are needed.
/// The same bytes make the same stream, whatever the number of threads and however they are cut into writes.
///
/// The stream is only whole after [`Gzip::finish`]; dropped before, it ends anywhere.
pub struct Gzip<W: Write> {
    target: W,
    level: CompressionLvl,
    /// What was written and makes no whole member yet.
    block: Vec<u8>,
    workers: Workers,
    /// The members that are being made, in their order.
    pending: VecDeque<Receiver<Job>>,
    /// Done ones, whose memory is used again.
    spare: Vec<Job>,
    /// Whether any member was begun: an empty stream is one empty member.
    is_begun: bool,
}

/// A block, and the member made of it.
#[derive(Default)]
struct Job {
    block: Vec<u8>,
    member: Vec<u8>,
}

impl<W: Write> Gzip<W> {
    /// `level` is one of [`super::levels`], or the nearest of them; without one it is this program's own default.
    pub fn new(target: W, level: Option<i32>, threads: NonZero<usize>) -> Gzip<W> {
        Gzip {
            target,
            level: CompressionLvl::new(level.unwrap_or(LEVEL).clamp(1, 9)).unwrap_or_default(),
            block: Vec::new(),
            workers: Workers::new(threads.get().min(MAX_THREADS)),
            pending: VecDeque::new(),
            spare: Vec::new(),
            is_begun: false,
        }
    }

    /// Reads `source` to its end, into the stream.
    ///
    /// # Errors
    /// Those of `source` and of the target, as they are.
    pub(super) fn read_from(&mut self, mut source: impl Read) -> io::Result<()> {
        loop {
            let room = MEMBER - self.block.len();
            let count = source.by_ref().take(room as u64).read_to_end(&mut self.block)?;
            if count < room {
                return Ok(());
            }
            self.submit()?;
        }
    }

    /// Writes what is left, and gives the target back.
    ///
    /// # Errors
    /// Those of the target, as they are.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() || !self.is_begun {
            self.submit()?;
        }
        while let Some(oldest) = self.pending.pop_front() {
            self.take(&oldest)?;
        }
        Ok(self.target)
    }

    /// Has the block compressed.
    fn submit(&mut self) -> io::Result<()> {
        self.is_begun = true;
        // Each thread has a block, and one waits for it.
        if self.pending.len() >= 2 * self.workers.most
            && let Some(oldest) = self.pending.pop_front()
        {
            self.take(&oldest)?;
        }
        let mut job = self.spare.pop().unwrap_or_default();
        std::mem::swap(&mut job.block, &mut self.block);
        self.block.clear();
        self.pending.push_back(self.workers.start(job, self.level)?);
        Ok(())
    }

    fn take(&mut self, oldest: &Receiver<Job>) -> io::Result<()> {
        let done = oldest.recv().map_err(|_| io::Error::other("a thread that compresses has ended"))?;
        self.target.write_all(&done.member)?;
        self.spare.push(done);
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(MEMBER - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == MEMBER {
            self.submit()?;
        }
        Ok(count)
    }

    /// Does nothing: where members end must not depend on it.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Task = (Job, CompressionLvl, SyncSender<Job>);

/// The threads. They end when this is dropped, and are waited for.
struct Workers {
    most: usize,
    tasks: Option<Sender<Task>>,
    queue: Arc<Mutex<Receiver<Task>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    fn new(most: usize) -> Workers {
        let (tasks, queue) = channel();
        Workers { most, tasks: Some(tasks), queue: Arc::new(Mutex::new(queue)), threads: Vec::new() }
    }

    /// Has a job done by one of the threads, or by another where there may be more.
    fn start(&mut self, job: Job, level: CompressionLvl) -> io::Result<Receiver<Job>> {
        if self.threads.len() < self.most {
            let queue = Arc::clone(&self.queue);
            let thread = std::thread::Builder::new().name("gzip".into()).spawn(move || work(&queue));
            match thread {
                Ok(thread) => self.threads.push(thread),
                // Those that there are do it, as on a machine with fewer processors.
                Err(_) if !self.threads.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        let (sender, receiver) = sync_channel(1);
        let task = (job, level, sender);
        // Its other end is in `self`: this never fails.
        self.tasks.as_ref().and_then(|tasks| tasks.send(task).ok()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(receiver)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            // One that has panicked has been noticed by whoever waited for its member.
            let _ = thread.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<Task>>) {
    let mut compressor = None;
    loop {
        // Nothing can panic while it is locked.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((mut job, level, done)) = next else { return };
        let compressor = compressor.get_or_insert_with(|| Compressor::new(level));
        job.member.resize(compressor.gzip_compress_bound(job.block.len()), 0);
        // It has the room that it asked for.
        let Ok(length) = compressor.gzip_compress(&job.block, &mut job.member) else { return };
        job.member.truncate(length);
        // Nobody waits for a stream that was given up.
        let _ = done.send(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_started_as_they_are_needed_and_end_with_the_stream() {
        let mut gzip = Gzip::new(Vec::new(), None, NonZero::new(3).unwrap());
        gzip.write_all(b"little").unwrap();
        assert_eq!(gzip.workers.threads.len(), 0);
        gzip.write_all(&vec![1; MEMBER]).unwrap();
        assert_eq!(gzip.workers.threads.len(), 1);
        gzip.write_all(&vec![1; 9 * MEMBER]).unwrap();
        assert_eq!(gzip.workers.threads.len(), 3);
        // As many blocks are held as there are threads twice, however much is written.
        assert!(gzip.pending.len() + gzip.spare.len() <= 7, "{} {}", gzip.pending.len(), gzip.spare.len());
        let queue = Arc::clone(&gzip.workers.queue);
        drop(gzip);
        assert_eq!(Arc::strong_count(&queue), 1);
    }
}
