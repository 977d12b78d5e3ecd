// SPDX-License-Identifier: Apache-2.0
//! Going on after the disk was full. Who looks after the disk's room looks now and then, and a fast download can fill it
//! in between: then room is asked for at once, and what failed is tried again.
//!
//! Bytes on their way into a blob are tried again by themselves, so nothing is fetched or read twice; a layer is unpacked
//! again from its blob.

use std::error::Error;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use content::{BlobWriter, ContentError};
use oci::Digest;

use crate::{Images, Inner};

/// Makes at least so many bytes of room by [`Images::make_room`], if it can. Says whether so many are free then.
pub type RoomMaker = dyn Fn(u64) -> bool + Send + Sync;

/// Less than this is not asked for, in bytes: a collection for every piece of a blob would be one too many.
const LEAST: u64 = 1 << 20;
/// How often something is tried again for room that was not made but found: another that failed has given it back. A
/// disk that is full of files rather than of bytes has such room, too, and it is of no use.
const FOUND: u32 = 3;

/// Whom to ask for room, and how often some was made.
#[derive(Default)]
pub(crate) struct Room {
    maker: OnceLock<Box<RoomMaker>>,
    /// Held by who asks: others that find the disk full at the same time wait, and share what it gets.
    asking: Mutex<()>,
    /// Held while things are removed.
    collecting: Mutex<()>,
    /// Removals so far.
    made: AtomicU64,
}

impl Room {
    /// How often something was removed to make room.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// Notes one more removal.
    pub(crate) fn note(&self) {
        self.made.fetch_add(1, Ordering::Release);
    }

    /// One collection at a time: a second one would reckon with what the first is about to remove.
    pub(crate) fn collecting(&self) -> MutexGuard<'_, ()> {
        lock(&self.collecting)
    }

    /// Has room made for `need` bytes, unless some was made since [`Room::made`] gave `before`. Says whether there is more
    /// than then.
    fn make(&self, need: u64, before: u64) -> bool {
        let _one = lock(&self.asking);
        let is_free = self.made() == before && self.maker.get().is_some_and(|maker| maker(need.max(LEAST)));
        is_free || self.made() != before
    }

    /// Whether the disk was full in `error`, and room was made since [`Room::made`] gave `before`: now, if need be.
    pub(crate) fn is_made_after(&self, error: &(dyn Error + 'static), need: u64, before: u64) -> bool {
        is_full(error) && self.make(need, before)
    }
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    // There is nothing in it that a panic could have left wrong.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Images {
    /// Has `maker` asked for room when an operation finds the disk full, before that fails. It is called on a thread that
    /// may block, and must not start an operation that brings content. Only the first one counts.
    pub fn ask_for_room(&self, maker: Box<RoomMaker>) {
        // A second one would be a mistake of the caller's without a consequence.
        let _ = self.inner.room.maker.set(maker);
    }
}

impl Inner {
    /// Does `work`, and again as often as the disk was full and room could be made: for `need` bytes, then for twice as
    /// many, and so on. Ends, because what may go is finite. The caller holds no lock of references.
    pub(crate) fn with_room<T, E: Error + 'static>(
        &self,
        need: u64,
        work: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        with_room(&self.room, need, work)
    }

    /// Stores a small blob.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Digest, ContentError> {
        self.with_room(bytes.len() as u64, || self.content.put(bytes))
    }

    /// A writer of a blob about which nothing is known.
    pub(crate) fn blob_writer(&self) -> Result<RoomyWriter<'_>, ContentError> {
        let writer = self.with_room(0, || self.content.writer(None, None))?;
        Ok(RoomyWriter { store: self, writer })
    }
}

fn with_room<T, E: Error + 'static>(room: &Room, need: u64, mut work: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let (mut need, mut found) = (need.max(LEAST), 0);
    loop {
        let before = room.made();
        match work() {
            Err(error) if found < FOUND && room.is_made_after(&error, need, before) => {
                need = need.saturating_mul(2);
                found += u32::from(room.made() == before);
            }
            result => return result,
        }
    }
}

/// Whether an operation failed because there is no room. A file that is larger than files may be is no such case.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// A blob in the making whose bytes wait for room.
pub(crate) struct RoomyWriter<'s> {
    store: &'s Inner,
    writer: BlobWriter,
}

impl RoomyWriter<'_> {
    /// The blob, when all is written.
    pub(crate) fn into_inner(self) -> BlobWriter {
        self.writer
    }
}

impl Write for RoomyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.store.with_room(bytes.len() as u64, || self.writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Adds `bytes` to `writer`, and waits for room.
pub(crate) fn append(store: &Inner, writer: &mut BlobWriter, bytes: &[u8]) -> Result<(), ContentError> {
    store.with_room(bytes.len() as u64, || writer.append(bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::ImageError;

    fn full() -> ImageError {
        ImageError::Input(io::ErrorKind::StorageFull.into())
    }

    /// Room that can be made so often, and what was asked for.
    fn room(times: usize) -> (Arc<Room>, Arc<Mutex<Vec<u64>>>) {
        let (room, asked) = (Arc::<Room>::default(), Arc::<Mutex<Vec<u64>>>::default());
        let (made, noted) = (Arc::downgrade(&room), Arc::clone(&asked));
        let maker = move |need| {
            let mut noted = noted.lock().unwrap();
            noted.push(need);
            if noted.len() <= times {
                made.upgrade().unwrap().note();
            }
            false
        };
        assert!(room.maker.set(Box::new(maker)).is_ok());
        (room, asked)
    }

    #[test]
    fn it_is_tried_again_while_room_can_be_made_and_asks_for_more_each_time() {
        let (room, asked) = room(2);
        let mut tries = 0;
        let result: Result<(), _> = with_room(&room, 10 << 20, || {
            tries += 1;
            Err(full())
        });
        assert!(is_full(&result.unwrap_err()));
        assert_eq!((tries, asked.lock().unwrap().clone()), (3, vec![10 << 20, 20 << 20, 40 << 20]));
    }

    #[test]
    fn room_that_others_had_made_meanwhile_is_not_asked_for_again() {
        let (room, asked) = room(1);
        let mut tries = 0;
        let result = with_room(&room, 1, || {
            tries += 1;
            if tries == 1 {
                room.note();
                return Err(full());
            }
            Ok(tries)
        });
        assert_eq!((result.unwrap(), asked.lock().unwrap().len()), (2, 0));
    }

    #[test]
    fn room_that_is_there_without_a_removal_is_tried_some_times() {
        let room = Room::default();
        assert!(room.maker.set(Box::new(|_| true)).is_ok());
        for (fails, ends) in [(1, true), (FOUND, true), (FOUND + 1, false)] {
            let mut tries = 0;
            let result = with_room(&room, 1, || {
                tries += 1;
                if tries > fails { Ok(()) } else { Err(full()) }
            });
            assert_eq!(result.is_ok(), ends, "{fails}");
        }
    }

    #[test]
    fn other_errors_and_a_host_without_a_collection_change_nothing() {
        let (room, asked) = room(1);
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::FileTooLarge] {
            assert!(with_room(&room, 1, || Err::<(), _>(ImageError::Input(kind.into()))).is_err());
        }
        assert!(asked.lock().unwrap().is_empty());
        assert!(with_room(&Room::default(), 1, || Err::<(), _>(full())).is_err());
    }
}
