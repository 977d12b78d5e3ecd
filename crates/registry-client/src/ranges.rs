// SPDX-License-Identifier: Apache-2.0
//! A large blob over several connections: ranges that are fetched ahead of the reader, who gets them in order.
//!
//! ```text
//! blob   ├──── given ────┼── first connection ──┼─ range ─┼─ range ─┼─ range ─┼──── not asked for yet ────┤
//! ```
//!
//! Only where that helps: where the reader mostly waits for one connection, and that one is slow, as registries are that
//! limit each connection, or are far away. A reader that is slower than its connection gains nothing, and a fast
//! connection on this machine or beside it would only be made to share its processors.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use oci::{Digest, ImageRef};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::ask::Ask;
use crate::blob::range_start;
use crate::client::Client;
use crate::error::RegistryError;

/// Bytes of a range: enough that asking for it costs little, few enough that some fit into memory.
const RANGE: u64 = 4 << 20;
/// Ranges in memory at once, over all blobs of a client: 32 MiB, so that no pull needs a hundred.
pub(crate) const AT_ONCE: usize = 8;
/// Ranges of one blob beside its first connection.
const OF_ONE: usize = 4;
/// A blob with less than this to come is had before several connections are up to speed.
const WORTH_IT: u64 = 4 * RANGE;
/// Before so many bytes and so much time nothing is known about a connection.
const WARM_UP: (u64, Duration) = (2 << 20, Duration::from_millis(200));
/// A connection that brings more in a second is not the one that is slow: a tenth of what one brings on loopback, and
/// what a whole gigabit network does in half a second.
const FAST: u64 = 64 << 20;

/// How fast a connection is, and who waits for whom.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    begun: Option<Instant>,
    bytes: u64,
    waited: Duration,
}

impl Pace {
    /// `bytes` came after the reader had waited so long.
    pub(crate) fn note(&mut self, bytes: u64, waited: Duration) {
        self.begun.get_or_insert_with(Instant::now);
        self.bytes += bytes;
        self.waited += waited;
    }

    /// Whether further connections would help.
    pub(crate) fn is_slow(&self) -> bool {
        let Some(begun) = self.begun else { return false };
        is_slow(self.bytes, begun.elapsed(), self.waited)
    }
}

fn is_slow(bytes: u64, took: Duration, waited: Duration) -> bool {
    let known = bytes >= WARM_UP.0 && took >= WARM_UP.1;
    // Three quarters of the time.
    let waits = waited.saturating_mul(4) >= took.saturating_mul(3);
    known && waits && (bytes as f64) < took.as_secs_f64() * FAST as f64
}

/// The ranges of a blob that are on their way, in order and without gaps.
#[derive(Default)]
pub(crate) struct Ahead {
    ranges: VecDeque<Range>,
}

/// A range on its way.
struct Range {
    from: u64,
    end: u64,
    pieces: mpsc::UnboundedReceiver<Result<Bytes, RegistryError>>,
    /// Whether the registry knows ranges; there for the first one only until it is known.
    begun: Option<oneshot::Receiver<bool>>,
    task: JoinHandle<()>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Range {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is asked of whom.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) client: Client,
    pub(crate) image: ImageRef,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Ahead {
    /// Where the ranges begin, if there are any.
    pub(crate) fn start(&self) -> Option<u64> {
        self.ranges.front().map(|range| range.from)
    }

    /// Asks for what is missing behind `given`, as far as there is room. Where a first connection still reads, it is left
    /// one range's worth.
    pub(crate) fn fill(&mut self, wanted: &Wanted, given: u64) {
        let mut from = self.ranges.back().map_or(given + RANGE, |range| range.end);
        if self.ranges.is_empty() && wanted.size.saturating_sub(given) < WORTH_IT {
            return;
        }
        while from < wanted.size && self.ranges.len() < OF_ONE {
            let Ok(room) = std::sync::Arc::clone(&wanted.client.transport().ahead).try_acquire_owned() else { return };
            let end = from.saturating_add(RANGE).min(wanted.size);
            let (sender, pieces) = mpsc::unbounded_channel();
            let (known, begun) = oneshot::channel();
            let asked = wanted.clone();
            let task = tokio::spawn(async move { fetch(&asked, from, end, &sender, known).await });
            self.ranges.push_back(Range { from, end, pieces, begun: Some(begun), task, _room: room });
            from = end;
        }
    }

    /// Whether the ranges can take over. `false` when the registry sends everything whatever is asked for: then they are
    /// given up.
    pub(crate) async fn is_usable(&mut self) -> bool {
        let Some(first) = self.ranges.front_mut() else { return false };
        let usable = match first.begun.take() {
            // A task that failed has left the reason among its pieces.
            Some(begun) => begun.await.unwrap_or(true),
            None => true,
        };
        if !usable {
            self.ranges.clear();
        }
        usable
    }

    /// The next bytes of the first range, which are those at `given`; `None` when it is all given, and gone.
    pub(crate) async fn chunk(&mut self, given: u64) -> Result<Option<Bytes>, RegistryError> {
        let Some(first) = self.ranges.front_mut() else { return Ok(None) };
        match first.pieces.recv().await {
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(error)) => {
                // It has tried again as often as is right.
                self.ranges.clear();
                Err(error)
            }
            None if given == first.end => {
                self.ranges.pop_front();
                Ok(None)
            }
            None => {
                // It ended without a word. What follows has no place without it.
                self.ranges.clear();
                Ok(None)
            }
        }
    }
}

/// Fetches a range, and goes on where it breaks. What came stays, whatever becomes of the others.
async fn fetch(
    wanted: &Wanted,
    from: u64,
    end: u64,
    pieces: &mpsc::UnboundedSender<Result<Bytes, RegistryError>>,
    known: oneshot::Sender<bool>,
) {
    let (mut at, mut failures, mut known) = (from, 0, Some(known));
    while at < end {
        let before = at;
        let Err(error) = stretch(wanted, &mut at, end, pieces, &mut known).await else { return };
        if at > before {
            failures = 0;
        }
        if let Err(error) = wanted.client.transport().pause_after(error, failures).await {
            // A reader that is gone need not know.
            let _ = pieces.send(Err(error));
            return;
        }
        failures += 1;
    }
}

/// One connection's part of a range. `Ok` when there is no more to be done.
async fn stretch(
    wanted: &Wanted,
    at: &mut u64,
    end: u64,
    pieces: &mpsc::UnboundedSender<Result<Bytes, RegistryError>>,
    known: &mut Option<oneshot::Sender<bool>>,
) -> Result<(), RegistryError> {
    let Wanted { client, image, digest, size } = wanted;
    let path = format!("/v2/{}/blobs/{digest}", image.repository());
    let ask = Ask { from: *at, end: Some(end), ..Ask::pull(image.registry(), image.repository(), &path) };
    let response = client.transport().get(ask).await?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT if range_start(response.headers()) == Some(*at) => {}
        // All of the blob, or another part of it: it would be fetched once for every range.
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            if let Some(known) = known.take() {
                // A reader that is gone need not know.
                let _ = known.send(false);
            }
            return Ok(());
        }
        _ => return Err(client.refused(ask, &image.to_string(), response).await),
    }
    if let Some(known) = known.take() {
        // As above.
        let _ = known.send(true);
    }
    let mut body = response.into_body();
    while *at < end {
        let ask = Ask { from: *at, ..ask };
        let Some(chunk) = client.transport().next_chunk(ask, &mut body).await? else {
            let (registry, digest, expected) = (image.registry().to_owned(), *digest, *size);
            return Err(RegistryError::WrongSize { registry, digest, expected, actual: Some(*at) });
        };
        if chunk.len() as u64 > end - *at {
            let (registry, digest, expected) = (image.registry().to_owned(), *digest, *size);
            return Err(RegistryError::WrongSize { registry, digest, expected, actual: None });
        }
        *at += chunk.len() as u64;
        if pieces.send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slow_connection_that_is_waited_for_gets_help() {
        let second = Duration::from_secs(1);
        assert!(is_slow(10 << 20, second, second));
        assert!(is_slow(10 << 20, second, Duration::from_millis(750)));
        assert!(!is_slow(10 << 20, second, second / 2), "the reader is the slow one");
        assert!(!is_slow(600 << 20, second, second), "as on loopback");
        assert!(!is_slow(1 << 20, second, second), "too early to tell");
        assert!(!is_slow(10 << 20, second / 10, second / 10), "too early to tell");
    }
}
