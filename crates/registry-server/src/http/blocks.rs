// SPDX-License-Identifier: Apache-2.0
//! The memory that blobs are read into on their way to clients, block after block. It is used again, by the next request
//! as well: new memory costs more than reading does (the kernel clears it page by page), and what one thread gives back
//! another may never get, so that a registry would grow with every pull.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::storage::held;

/// Bytes read of a file at once. Each costs a thread's turn; two or three are in memory for each download.
pub(super) const LARGE: usize = 1 << 20;
/// Bytes read at once when there are [`MOST_LARGE`] large blocks: many clients who take their time must not fill the memory.
const SMALL: usize = 64 << 10;
/// Large blocks at once.
const MOST_LARGE: usize = 64;
/// Blocks that are kept for the next request.
const MOST_KEPT: usize = 8;

/// All blocks. A clone is the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Large ones that nobody has.
    free: Mutex<Vec<Vec<u8>>>,
    /// How many large ones somebody has.
    lent: AtomicUsize,
}

/// A block, empty or full. Dropped when the connection has taken it, and then free for the next.
#[derive(Debug)]
pub(super) struct Lent {
    block: Vec<u8>,
    size: usize,
    /// Whose it is, if it is a large one.
    blocks: Option<Blocks>,
}

impl Blocks {
    /// A block for the next of `left` bytes.
    pub(super) fn lend(&self, left: u64) -> Lent {
        // At most a block, which fits.
        let size = left.min(LARGE as u64) as usize;
        if size <= SMALL {
            return Lent { block: Vec::new(), size, blocks: None };
        }
        if self.0.lent.fetch_add(1, Ordering::Relaxed) >= MOST_LARGE {
            self.0.lent.fetch_sub(1, Ordering::Relaxed);
            return Lent { block: Vec::new(), size: SMALL, blocks: None };
        }
        let block = held(&self.0.free).pop().unwrap_or_default();
        Lent { block, size, blocks: Some(self.clone()) }
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        held(&self.0.free).len()
    }
}

impl Lent {
    /// Its length in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// All of it, whatever is in it.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        if self.block.capacity() == 0 && self.blocks.is_some() {
            // The next one may need more of it than this one does.
            self.block.reserve_exact(LARGE);
        }
        self.block.resize(self.size, 0);
        &mut self.block
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.block
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(blocks) = &self.blocks else { return };
        blocks.0.lent.fetch_sub(1, Ordering::Relaxed);
        let mut free = held(&blocks.0.free);
        if free.len() < MOST_KEPT && self.block.capacity() > 0 {
            free.push(std::mem::take(&mut self.block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_large_blocks_and_then_small_ones() {
        let blocks = Blocks::default();
        let mut lent: Vec<Lent> = (0..200).map(|_| blocks.lend(u64::MAX)).collect();
        let memory: usize = lent.iter_mut().map(|lent| lent.bytes().len()).sum();
        assert_eq!(memory, MOST_LARGE * LARGE + (200 - MOST_LARGE) * SMALL);
        assert_eq!(blocks.lend(10).bytes().len(), 10);
        drop(lent);
        assert_eq!((blocks.kept(), blocks.0.lent.load(Ordering::Relaxed)), (MOST_KEPT, 0));
        assert_eq!(blocks.lend(u64::MAX).bytes().len(), LARGE, "there are large ones again");
    }

    #[test]
    fn a_block_that_was_given_back_is_the_next_one() {
        let blocks = Blocks::default();
        let place = blocks.lend(100_000).bytes().as_ptr();
        for left in [u64::MAX, 70_000, 1 << 20] {
            assert_eq!(blocks.lend(left).bytes().as_ptr(), place);
        }
        assert_eq!(blocks.kept(), 1);
    }
}
