// SPDX-License-Identifier: Apache-2.0
//! Room on the disk: looked at now and then, and made when there is little. What may go for it is the image store's
//! affair (`image/src/collect/`).
//!
//! Where an operation finds the disk full before that look, it asks for room itself, and goes on (`image/src/room.rs`).
//!
//! An idle daemon wakes once a minute for this, and asks the kernel one question. While images come it looks every two
//! seconds: a pull can fill a disk faster than that minute.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use image::{Collected, Gone, Marks};
use jiff::Timestamp;
use metadata::{Durability, Table};
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::error::EngineError;

/// How often an idle daemon looks.
const IDLE: Duration = Duration::from_secs(60);
/// How often it looks while an operation brings content.
const BUSY: Duration = Duration::from_secs(2);
/// [`LAST`] → [`Collection`].
const COLLECTIONS: Table = Table::new("collections");
const LAST: &str = "last";

/// A collection that has removed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// When it ended.
    pub at: Timestamp,
    /// Images that went.
    pub images: u64,
    /// Bytes that the disk got back.
    pub freed: u64,
}

/// How the disk's room is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// When room is made, and how much; `None` when never.
    pub marks: Option<Marks>,
    /// The last time that this was necessary, and possible.
    pub last: Option<Collection>,
}

/// A file system's bytes: in all, and free for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Space {
    total: u64,
    free: u64,
}

impl Space {
    fn of(path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

impl Engine {
    /// How the disk's room is looked after.
    ///
    /// # Errors
    /// The file system cannot be asked, or the metadata not be read.
    pub fn room(&self) -> Result<Room, EngineError> {
        let root = &self.config.data_root;
        let space = Space::of(root).map_err(EngineError::io("measure", root))?;
        let last = self.store.read(|tx| tx.get(COLLECTIONS, LAST).map_err(EngineError::from))?;
        Ok(Room { marks: self.config.gc_threshold.marks(space.total), last })
    }

    /// Looks after the disk's room from now on, as long as there is this engine.
    pub(crate) fn look_after_room(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        self.handle.spawn(async move {
            // What was missing when nothing more could go: said once, not every minute.
            let mut short = false;
            while let Some(wait) = look(&engine, &mut short).await {
                let Some(images) = engine.upgrade().map(|engine| engine.images.clone()) else { return };
                // Too late either way is no error: it only wakes the next look.
                let _ = tokio::time::timeout(wait, images.traffic()).await;
            }
        });
    }

    /// Has operations that find the disk full make room.
    pub(crate) fn make_room_when_full(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        self.images.ask_for_room(Box::new(move |need| {
            let Some(engine) = engine.upgrade() else { return false };
            engine.make_room_for(need).unwrap_or_else(|error| {
                // If the operation fails, then for the full disk: that is what its caller hears of.
                tracing::error!(error = errors::chain(&error), "cannot make room on the full disk");
                false
            })
        }));
    }

    /// Makes room for `need` bytes more than are free, and at least as much as when the disk gets full. Says whether `need`
    /// bytes are free then: not only a collection gives some back.
    fn make_room_for(&self, need: u64) -> Result<bool, EngineError> {
        let root = &self.config.data_root;
        let space = Space::of(root).map_err(EngineError::io("measure", root))?;
        let Some(marks) = self.config.gc_threshold.marks(space.total) else { return Ok(false) };
        self.collect_until(marks.high.max(space.free.saturating_add(need)), marks)?;
        Ok(Space::of(root).map_err(EngineError::io("measure", root))?.free >= need)
    }

    /// Makes room if there is too little. Says whether there still is too little.
    fn make_room(&self) -> Result<bool, EngineError> {
        let root = &self.config.data_root;
        let space = Space::of(root).map_err(EngineError::io("measure", root))?;
        let Some(marks) = self.config.gc_threshold.marks(space.total) else { return Ok(false) };
        if space.free >= marks.low {
            return Ok(false);
        }
        self.collect_until(marks.high, marks)?;
        Ok(Space::of(root).map_err(EngineError::io("measure", root))?.free < marks.low)
    }

    /// Removes what nobody needs until `goal` bytes are free.
    fn collect_until(&self, goal: u64, marks: Marks) -> Result<(), EngineError> {
        let root = &self.config.data_root;
        let free = || Space::of(root).map(|space| space.free);
        let mut done = Collection { at: Timestamp::now(), images: 0, freed: 0 };
        let in_use = |id: &oci::Digest| self.image_user(id);
        let result = self.images.make_room(goal, &free, &in_use, &mut |collected| {
            log(collected, marks);
            done.images += u64::from(matches!(collected.what, Gone::Image(_)));
            done.freed += collected.bytes;
        });
        if done.images > 0 || done.freed > 0 {
            done.at = Timestamp::now();
            self.store.write(Durability::Relaxed, |tx| tx.put(COLLECTIONS, LAST, &done))?;
        }
        Ok(result.map(drop)?)
    }
}

/// One look, and how long to wait for the next one; `None` when the engine is gone.
async fn look(engine: &Weak<Engine>, short: &mut bool) -> Option<Duration> {
    let engine = engine.upgrade()?;
    let worker = Arc::clone(&engine);
    let made = engine.blocking("make room on the disk", move || {
        let still_short = worker.make_room()?;
        // After it: on a full disk this needs the room.
        worker.images.write_uses()?;
        Ok(still_short)
    });
    let made = made.await;
    match made {
        Ok(still_short) => {
            if still_short && !*short {
                let root = engine.config.data_root.display().to_string();
                tracing::warn!(
                    data_root = root,
                    "the disk gets full, and nothing is left here that may be removed unasked: `corten system df` shows what takes room, `corten image prune -a` removes images without containers"
                );
            }
            *short = still_short;
        }
        Err(error) => tracing::error!(error = errors::chain(&error), "cannot make room on the disk"),
    }
    Some(if engine.images.is_busy() { BUSY } else { IDLE })
}

fn log(collected: Collected, marks: Marks) {
    let Collected { what, bytes } = collected;
    let (what, id) = match what {
        Gone::Interrupted => ("the beginning of an interrupted download", String::new()),
        Gone::Unreferenced(digest) => ("content that nothing refers to", digest.to_string()),
        Gone::Image(id) => ("an image without a name and containers", id.to_string()),
    };
    tracing::info!(what, id, bytes, threshold = marks.low, "removed because the disk gets full");
}
