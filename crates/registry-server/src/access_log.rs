// SPDX-License-Identifier: Apache-2.0
//! The access log: one line of JSON for each request, when its answer is sent or its client is gone. A thread of its own
//! writes, so that a slow disk delays nobody; what it cannot take is counted and said.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde::Serialize;

use crate::storage::held;

/// Lines that may wait for the disk.
const WAITING: usize = 4096;

/// Where lines go. Dropped, it waits until all are written.
pub struct AccessLog {
    lines: Mutex<Option<SyncSender<Vec<u8>>>>,
    lost: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A request and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    /// When it came: RFC 3339, UTC.
    pub(crate) time: String,
    /// The client's address.
    pub(crate) client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<&'a str>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    /// Bytes of the answer's body that were sent.
    pub(crate) sent: u64,
    /// Until the end of the answer.
    pub(crate) milliseconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<&'a str>,
}

impl AccessLog {
    /// A log that writes to `output`.
    ///
    /// # Errors
    /// There can be no thread for it.
    pub fn new(output: impl Write + Send + 'static) -> std::io::Result<AccessLog> {
        let (lines, waiting) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let lost_there = Arc::clone(&lost);
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(output, &waiting, &lost_there))?;
        Ok(AccessLog { lines: Mutex::new(Some(lines)), lost, writer: Mutex::new(Some(writer)) })
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        // A structure of strings and numbers is always JSON.
        let mut text = serde_json::to_vec(line).unwrap_or_default();
        text.push(b'\n');
        let taken = held(&self.lines).as_ref().is_some_and(|lines| lines.try_send(text).is_ok());
        if !taken {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(mut output: impl Write, waiting: &Receiver<Vec<u8>>, lost: &AtomicU64) {
    while let Ok(line) = waiting.recv() {
        let written = output.write_all(&line).and_then(|()| output.flush());
        let missing = lost.swap(0, Ordering::Relaxed) + u64::from(written.is_err());
        if missing > 0 {
            tracing::warn!(lines = missing, "the access log is not whole");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        drop(held(&self.lines).take());
        if let Some(writer) = held(&self.writer).take() {
            // It has nothing to say any more.
            let _: std::thread::Result<()> = writer.join();
        }
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessLog")
    }
}
